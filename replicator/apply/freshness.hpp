// Writes what the relay's heartbeats say into cqrs.heartbeat, for cqrs.wait_for() and
// cqrs.staleness(): one row a topic, one small transaction a heartbeat.
#pragma once

#include "apply/heartbeat.hpp"
#include "postgres/connection.hpp"

namespace cqrs::apply {

class Freshness {
  public:
    // On the connection of whoever supervises the replica, each time the heartbeat may be new. Of
    // several appliers of one replica only one writes.
    void record(postgres::Connection& connection, const Heartbeat& heartbeat);

  private:
    bool own(postgres::Connection& connection);

    int owner_ = 0;           // backend of the connection that holds the lock
    std::uint64_t seen_ = 0;  // number of the last heartbeat written
};

}  // namespace cqrs::apply
