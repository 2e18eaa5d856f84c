#include "admin/tail.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <optional>
#include <random>
#include <stdexcept>
#include <string>

#include "admin/events.hpp"
#include "admin/printer.hpp"
#include "admin/tail_loop.hpp"
#include "broker/compression.hpp"
#include "broker/connection.hpp"
#include "broker/names.hpp"
#include "history/tail.hpp"

namespace cqrs {
namespace {

constexpr int prefetch = 64;

// A queue of our own: exclusive, so that it goes when we go.
std::string queue_of_our_own() {
    std::random_device random;
    return fmt::format("cqrs.tail.{:08x}{:08x}", random(), random());
}

broker::Connection subscribe(const Settings& settings) {
    auto connection = broker::Connection::open(settings.broker_url, settings.broker_cacert,
                                               "cqrs-replicator tail");
    connection.declare_exchanges();
    const auto queue = queue_of_our_own();
    broker::QueueOptions options;
    options.durable = false;
    options.exclusive = true;
    options.auto_delete = true;
    connection.declare_queue(queue, options);
    for (const auto& pattern : settings.types) {
        connection.bind_queue(queue, broker::event_exchange, pattern);
    }
    connection.consume(queue, prefetch);
    return connection;
}

// Sleeps until the broker has sent something, stop was requested or a second has passed (the
// heartbeats of AMQP want a look at the connection now and then).
void wait(const broker::Connection& connection, const Stop& stop) {
    if (connection.buffered()) return;
    pollfd fds[2] = {{connection.socket(), POLLIN, 0}, {stop.fd(), POLLIN, 0}};
    poll(fds, 2, 1000);
}

void print_message(broker::Delivery& delivery, Printer& printer) {
    try {
        const std::string body =
            broker::decoded_body(delivery.properties.content_encoding, std::move(delivery.body));
        for_each_event(body, [&](std::string_view event) { printer.print(event); });
    } catch (const std::invalid_argument& e) {
        spdlog::warn("tail: a message with key {} is not an array of events: {}",
                     delivery.routing_key, e.what());
    }
    printer.flush();
}

void follow(broker::Connection& connection, const Stop& stop, Printer& printer) {
    while (!stop.requested() && !printer.done()) {
        auto event = connection.next(std::chrono::milliseconds(0));
        if (!event) {
            wait(connection, stop);
        } else if (auto* delivery = std::get_if<broker::Delivery>(&*event)) {
            print_message(*delivery, printer);
            connection.ack(delivery->tag, false);
        } else if (std::holds_alternative<broker::Cancelled>(*event)) {
            throw broker::Error(0, "the queue was deleted");
        }
    }
}

}  // namespace

int run_tail(const Settings& settings, Stop& stop) {
    Printer printer(settings.count);
    if (settings.from) return history::tail(settings, stop, printer);
    std::optional<broker::Connection> connection;
    return tail_loop({.connect =
                          [&] {
                              connection.emplace(subscribe(settings));
                              return connection->host();
                          },
                      .follow = [&] { follow(*connection, stop, printer); },
                      .connected = "listening at",
                      .again = "; events of the meantime were not seen"},
                     stop, printer);
}

}  // namespace cqrs
