// A TCP connection to the broker or, in the system's words, why there is none: rabbitmq-c keeps the
// reason to itself.
#pragma once

#include <chrono>

#include "broker/breaker.hpp"
#include "broker/url.hpp"

namespace cqrs::broker {

// The socket, non-blocking; the caller closes it. The breaker has it from its first moment. Throws
// Error.
int dial(const Address& address, std::chrono::milliseconds timeout, Breaker& breaker);

}  // namespace cqrs::broker
