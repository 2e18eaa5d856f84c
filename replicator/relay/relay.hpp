// `cqrs-replicator relay`: primary to broker, until stop. Returns the exit status.
#pragma once

#include <optional>

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "config.hpp"
#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs {

// The connections are for its first session, if the caller has opened some.
int run_relay(const Settings& settings, Stop& stop, Metrics& metrics, Health& health,
              std::optional<postgres::Connection> primary,
              std::optional<postgres::Connection> walsender);

}  // namespace cqrs
