// A topic's history given to handlers, up to where the replica stands.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "apply/handlers.hpp"
#include "apply/position.hpp"
#include "config.hpp"
#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs::rebuild {

// The history alone does not lead to what the handlers should have made: the text says why.
struct Incomplete : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Throws Incomplete unless the stream begins with the topic's first event ever. Cheap.
void check_reach(const Settings& settings, postgres::Connection& primary, const std::string& topic,
                 const apply::Position& position);

// Rows of the primary's tables at the replica's position, by prefix: so many the history has to
// come to. Rows that were there before the relay first ran have no events.
using Rows = std::map<std::string, std::int64_t, std::less<>>;

struct Replayed {
    std::int64_t events = 0, given = 0;  // read; handed to a handler
};

// Inside a transaction that is open on `replica`: every event from the first to position.sequence,
// in order, each once. The handlers' tables are empty, or they were told to forget. Throws
// Incomplete where events are missing or rows changed without events; postgres::Error{stop} that
// names event, handler and reason; broker::Error.
Replayed replay(const Settings& settings, postgres::Connection& replica, const std::string& topic,
                apply::Handlers& handlers, const apply::Position& position, const Rows& rows,
                const Stop& stop);

}  // namespace cqrs::rebuild
