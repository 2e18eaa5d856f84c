// `add-replica`: a replica joins a primary that is in use and holds data.
#pragma once

#include <string>
#include <vector>

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "config.hpp"
#include "stop.hpp"

namespace cqrs {

// Queues, registration, tables that are missing (with --create-tables, copied by several jobs),
// subscriptions. What is there already stays as it is. The prefixes that the replica subscribes to
// now; the applier copies those tables that existed. Throws postgres::Error, broker::Error.
std::vector<std::string> prepare_replica(const Settings& settings, const Stop& stop,
                                         Metrics& metrics);

// The same for an applier that starts: waits for what may pass. False: it will not, or stop was
// requested; the log says why.
bool init_replica(const Settings& settings, const Stop& stop, Metrics& metrics);

// Prepares, then applies until every topic has met the stream. The exit status.
int add_replica(Settings settings, Stop& stop, Metrics& metrics, Health& health);

}  // namespace cqrs
