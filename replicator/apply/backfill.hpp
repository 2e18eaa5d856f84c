// What the primary's tables hold, given to handlers as events: <prefix>.truncate, then one
// <prefix>.create a row.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

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

// The same inside a transaction that is open on `replica`: `primary` sees a snapshot of `point`.
void give_rows(postgres::Connection& primary, postgres::Connection& replica,
               const std::string& topic, const Handlers& handlers, std::uint64_t point,
               const Stop& stop);

// What a handler's state becomes: it was given everything of these prefixes up to there.
void given(postgres::Connection& replica, const Registration& registration,
           const Handlers::Function& function, const std::vector<std::string>& prefixes,
           std::uint64_t point);

// Published prefixes of the topic whose rows the pattern matches.
std::vector<std::string> matching_prefixes(postgres::Connection& primary, const std::string& topic,
                                           const std::string& pattern);

// One that no commit has: <point>.snapshot.<number>; data "": none.
void append_row_event(std::string& array, const std::string& point, std::int64_t number,
                      const std::string& source, const std::string& type, const std::string& time,
                      std::string_view data);

}  // namespace cqrs::apply
