// cqrs.published as the decoded transaction's predecessors left it. Catalog access: only from
// begin, change, truncate, commit and transactional message callbacks.
#pragma once

#include "guard.hpp"

extern "C" {
#include "replication/reorderbuffer.h"
}

#include "event.hpp"

#include <string_view>

namespace cqrs {

struct Publication {
    Oid relation = InvalidOid;
    char prefix[kMaxPrefix + 1] = "";
    bool notify = false;
    // The transaction itself publishes, changes or unpublishes: the answer holds until it ends.
    bool until_commit = false;
};

// Which of `relations` is published, the last one first (a partition is published by its root).
// Transactions count as a whole: one that publishes does not see its own row, one that unpublishes
// still does. False if none is.
bool find_publication(ReorderBufferTXN* txn, const Oid* relations, int count, Publication& found);

// The table that the prefix belongs to, before the transaction or by it. False if there is none.
bool find_prefix(ReorderBufferTXN* txn, std::string_view prefix, Publication& found);

}  // namespace cqrs
