// `cqrs-replicator apply`: broker to one replica, until stop. Returns the exit status.
#pragma once

#include <optional>

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "config.hpp"
#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs {

// The connection to the replica is its first one, if the caller has opened it.
int run_apply(const Settings& settings, Stop& stop, Metrics& metrics, Health& health,
              std::optional<postgres::Connection> replica = std::nullopt);

}  // namespace cqrs
