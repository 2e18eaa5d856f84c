// `cqrs-replicator tail --from`: what the broker has kept, then what comes.
#pragma once

#include "admin/printer.hpp"
#include "config.hpp"
#include "stop.hpp"

namespace cqrs::history {

// Until stop or the printer is done: 0; 1 when the history is not there or does not reach back.
// Throws ConfigError: patterns that name no topic.
int tail(const Settings& settings, Stop& stop, Printer& printer);

}  // namespace cqrs::history
