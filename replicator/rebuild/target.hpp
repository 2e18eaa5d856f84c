// What `cqrs-replicator rebuild` was asked to build anew: tables and handlers, by topic.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "apply/handlers.hpp"
#include "config.hpp"
#include "postgres/connection.hpp"
#include "verify/compare.hpp"

namespace cqrs::rebuild {

struct Target {
    std::vector<verify::Pair> tables;  // subscribed ones
    // A handler's registrations, each with its function.
    struct Handler {
        apply::Handlers::Function function;
        std::vector<std::string> patterns;
        bool backfill = false;  // it understands <prefix>.truncate
    };
    std::vector<Handler> handlers;
};

// By topic. Throws postgres::Error{stop}: nothing of that name, or it cannot be rebuilt.
std::map<std::string, Target> find_targets(const Settings& settings, postgres::Connection& replica);

}  // namespace cqrs::rebuild
