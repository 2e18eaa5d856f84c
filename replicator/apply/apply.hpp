// `cqrs-replicator apply`: broker to one replica, until stop. Returns the exit status.
#pragma once

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "config.hpp"
#include "stop.hpp"

namespace cqrs {

int run_apply(const Settings& settings, Stop& stop, Metrics& metrics, Health& health);

}  // namespace cqrs
