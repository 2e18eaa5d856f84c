// `cqrs-replicator status`: one look at primary, broker and replica.
#pragma once

#include "config.hpp"

namespace cqrs {

// Prints a table, or JSON with --json. Returns 0 if everything asked for was reachable and every
// topic is live, else 1.
int run_status(const Settings& settings);

}  // namespace cqrs
