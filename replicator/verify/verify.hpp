// `cqrs-replicator verify`: the rows of a replica against those of the primary, at the same point
// of the primary's WAL, while both go on.
#pragma once

#include "config.hpp"
#include "stop.hpp"

namespace cqrs {

// Differing keys to stdout. 0: all tables are equal (--repair: or were made so); 1: they are not,
// or a table could not be compared.
int run_verify(const Settings& settings, const Stop& stop);

}  // namespace cqrs
