// What the primary's tables hold, given to handlers as events: <prefix>.truncate, then one
// <prefix>.create a row.
#pragma once

#include <string>

#include "apply/handlers.hpp"
#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs::apply {

// For every registration of the topic that waits for it, as of one point of the primary's WAL, in
// one transaction of the replica. Rows stream; memory stays bounded. The queue is bound: what is
// committed after the point comes through it, and what it holds of before is not given to them
// again. Waits for transactions of the primary that are older, until stop is requested.
void backfill_handlers(const std::string& database_url, postgres::Connection& replica,
                       const std::string& topic, const Handlers& handlers, const Stop& stop);

}  // namespace cqrs::apply
