#include "broker/replica_queue.hpp"

#include <spdlog/spdlog.h>

#include "broker/names.hpp"

namespace cqrs::broker {

void bind_replica_queue(Connection& connection, const std::string& queue,
                        const std::string& topic) {
    auto options = replica_queue_options();
    try {
        connection.declare_queue(queue, options);
    } catch (const Error& e) {
        if (e.code() != 406) throw;
        spdlog::warn(
            "apply: queue {} exists with other arguments ({}): it is used as it is, but without "
            "x-single-active-consumer and x-delivery-limit 2147483647 messages can come out of "
            "order or be dropped. Delete the queue while the applier runs: it is declared anew "
            "and what is missing is copied.",
            queue, e.what());
        options.passive = true;
        connection.declare_queue(queue, options);
    }
    connection.bind_queue(queue, event_exchange, topic + ".#");
}

std::optional<QueueInfo> look_at_queue(Connection& connection, const std::string& queue) {
    QueueOptions passive;
    passive.passive = true;
    try {
        return connection.declare_queue(queue, passive);
    } catch (const Error& e) {
        if (e.code() != 404) throw;
        return std::nullopt;
    }
}

}  // namespace cqrs::broker
