// `remove-replica`: takes a replica's queues, registration and positions away.
#pragma once

#include "config.hpp"

namespace cqrs {

// What is not there is not missed. The exit status.
int remove_replica(const Settings& settings);

}  // namespace cqrs
