// NOTIFY on the replica, in the transaction that applies the events: whoever listens hears of an
// event exactly when the read model shows it. Channel: the event's type; payload: its JSON, or its
// id alone where the JSON has 8,000 bytes or more.
#pragma once

#include <span>
#include <vector>

#include "apply/event.hpp"
#include "postgres/connection.hpp"

namespace cqrs::apply {

// Once a connection.
void prepare_notify(postgres::Connection& connection);
void notify_events(postgres::Connection& connection, std::span<const Event* const> events);
// The same for transact().
std::vector<postgres::Step> notify_steps(std::span<const Event* const> events);

}  // namespace cqrs::apply
