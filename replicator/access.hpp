// The first look at every server that a command needs, before anything starts. What a server
// refuses (a wrong password; a role, database or virtual host that it does not know) is a wrong
// setting. One that cannot be reached is not: servers start in any order.
#pragma once

#include <optional>

#include "config.hpp"
#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs {

// What the look has opened, for whoever needs one first; none where it failed, or nobody does.
struct Opened {
    std::optional<postgres::Connection> primary, walsender;  // the relay's
    std::optional<postgres::Connection> replica;             // the applier's
};

// Throws ConfigError, which names the setting.
Opened check_access(Command command, const Settings& settings, const Stop& stop);

}  // namespace cqrs
