// `cqrs-replicator rebuild`: builds tables or the read models of handlers anew, in one transaction
// of the replica, while readers see the old ones.
#pragma once

#include "config.hpp"
#include "stop.hpp"

namespace cqrs {

// 0: everything that was asked for is built anew; 1: it is as it was, and why on stderr.
int run_rebuild(const Settings& settings, const Stop& stop);

}  // namespace cqrs
