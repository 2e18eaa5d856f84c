// `cqrs-replicator tail`: prints events as they pass the broker, one JSON a line; with --from first
// those that it has kept.
#pragma once

#include "config.hpp"
#include "stop.hpp"

namespace cqrs {

// Until stop or settings.count events; returns 0.
int run_tail(const Settings& settings, Stop& stop);

}  // namespace cqrs
