// From an address to a connection that is logged in. For Connection::open(), which owns `c`.
#pragma once

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#else
#include <amqp.h>
#endif
#include <sys/time.h>

#include <chrono>
#include <string>

#include "broker/breaker.hpp"
#include "broker/url.hpp"

namespace cqrs::broker {

timeval to_timeval(std::chrono::milliseconds t);

// TCP, with TLS for amqps://; cacert "": the system's authorities. Throws Error with the reason.
void open_socket(amqp_connection_state_t c, const Address& address, const std::string& cacert,
                 std::chrono::milliseconds timeout, Breaker& breaker);

// name: what the broker's list of connections shows. Throws Error, never with the password.
void login(amqp_connection_state_t c, const Address& address, const std::string& name);

}  // namespace cqrs::broker
