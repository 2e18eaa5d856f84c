// The first look at every server that a command needs, before anything starts. What a server
// refuses (a wrong password; a role, database or virtual host that it does not know) is a wrong
// setting. One that cannot be reached is not: servers start in any order.
#pragma once

#include "config.hpp"
#include "stop.hpp"

namespace cqrs {

// Throws ConfigError, which names the setting.
void check_access(Command command, const Settings& settings, const Stop& stop);

}  // namespace cqrs
