// A point of the primary's WAL at which a topic of the replica stands still for a moment.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs::verify {

// Put up in the constructor: from then on the topic does not move. Taken down by the destructor;
// should this process die, it expires within seconds. A thread of its own renews it meanwhile.
class Fence {
  public:
    Fence(const std::string& replica_url, const std::string& topic);
    ~Fence();
    Fence(const Fence&) = delete;
    Fence& operator=(const Fence&) = delete;

    // Lets the topic go on up to `lsn` and waits until it is there. Throws postgres::Error when it
    // does not get there, or has passed it.
    void move(std::uint64_t lsn, const Stop& stop);
    // In a transaction of the replica: throws postgres::Error unless it has stood all the time, and
    // keeps it standing until that transaction ends. What was written there fits what comes next.
    void check(postgres::Connection& replica) const;
    void take_down() noexcept;

  private:
    void renew(const std::string& replica_url);

    const std::string topic_, owner_;
    postgres::Connection connection_;
    Stop stop_;
    std::thread renewer_;
    bool up_ = false;
};

}  // namespace cqrs::verify
