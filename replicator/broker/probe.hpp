// What the broker lets this user do, found out without a trace.
#pragma once

#include <chrono>
#include <string>

#include "broker/connection.hpp"

namespace cqrs::broker {

struct Probe {
    // missing: no relay has declared the exchange yet. none: not confirmed in time.
    enum class Answer { confirmed, blocked, refused, missing, none };
    Answer answer;
    std::string reason;  // blocked: which alarm
};

// Publishes a message with a key that nobody binds: under an alarm that is answered with
// connection.blocked. Throws Error.
Probe probe_publishing(Connection& connection, std::chrono::milliseconds timeout);

// The rights that publishing events takes, and binding that queue to them: a binding that does not
// exist is removed. Throws Error.
bool may_publish_events(Connection& connection);
bool may_receive_events(Connection& connection, const std::string& queue);

}  // namespace cqrs::broker
