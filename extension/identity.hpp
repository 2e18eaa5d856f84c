// Which tables can be published or subscribed: what an event must carry to be applied elsewhere.
#pragma once

#include "catalog.hpp"

namespace cqrs {

// keep: the table is published, and stays publishable after a piece of DDL.
enum class Use { publish, subscribe, keep };

// "publish" or "subscribe", for messages.
const char* verb_of(Use use);

// ERROR unless the caller owns the table. Before any lock is taken.
void check_owner(Oid relation);

// ERROR unless rows of `relation` (and of each of its partitions) can be told apart by a key that
// UPDATE and DELETE carry, survive a crash, and are not covered by another published or subscribed
// table.
void check_table(Oid relation, Use use);

// The applier's sessions write as a replica, where Postgres does not check these again at commit.
void warn_of_deferred_constraints(Oid relation);

// Children by inheritance are tables of their own, also to a replica.
void warn_of_children(Oid relation);

// ERROR (22023) unless well-formed; ERROR (22004) if nullptr.
void check_prefix(const char* prefix);

}  // namespace cqrs
