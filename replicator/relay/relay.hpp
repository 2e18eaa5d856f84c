// `cqrs-replicator relay`: primary to broker, until stop. Returns the exit status.
#pragma once

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "config.hpp"
#include "stop.hpp"

namespace cqrs {

int run_relay(const Settings& settings, Stop& stop, Metrics& metrics, Health& health);

}  // namespace cqrs
