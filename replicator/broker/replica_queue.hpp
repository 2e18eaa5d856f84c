// The queue of one replica and topic. Its arguments are fixed from day one: later changes answer
// 406.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "broker/connection.hpp"

namespace cqrs::broker {

inline QueueOptions replica_queue_options() {
    QueueOptions options;
    // Quorum also on one node: classic queues of 4.0 confirm without fsync. A delivery limit of -1
    // makes 3.10 drop messages, 4.0's default of 20 loses them.
    options.arguments = {{"x-queue-type", std::string("quorum")},
                         {"x-single-active-consumer", true},
                         {"x-delivery-limit", std::int64_t{2147483647}},
                         {"x-consumer-timeout", std::int64_t{10} * 24 * 3600 * 1000}};
    return options;
}

// Declares it if it is not there and binds it to the topic's events.
void bind_replica_queue(Connection& connection, const std::string& queue, const std::string& topic);

// nullopt: there is no such queue.
std::optional<QueueInfo> look_at_queue(Connection& connection, const std::string& queue);

}  // namespace cqrs::broker
