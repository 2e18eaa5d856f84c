// Postgres 15 to 18: every difference that this extension meets, in one place.
#pragma once

#include "guard.hpp"

extern "C" {
#include "access/xlogdefs.h"
#include "catalog/pg_class.h"
#include "replication/message.h"
#include "utils/acl.h"
}

namespace cqrs {

inline bool owns_table(Oid relation, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(RelationRelationId, relation, role);
#else
    return pg_class_ownercheck(relation, role);
#endif
}

// A logical message that exists if and only if the current transaction commits.
inline XLogRecPtr log_transactional_message(const char* prefix, const char* bytes, size_t size) {
#if PG_VERSION_NUM >= 170000
    return LogLogicalMessage(prefix, bytes, size, true, false);
#else
    return LogLogicalMessage(prefix, bytes, size, true);
#endif
}

}  // namespace cqrs
