// broker-round-trip URL RATE COUNT: one message after the other through a quorum queue like a
// replica's; prints the milliseconds from publish to delivery, one a line. What nothing can beat.
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

#include "broker/connection.hpp"
#include "broker/replica_queue.hpp"

using Clock = std::chrono::steady_clock;
using namespace cqrs::broker;

namespace {

const Delivery* next_delivery(Connection& consumer, std::optional<BrokerEvent>& event) {
    const auto deadline = Clock::now() + std::chrono::seconds(10);
    while (Clock::now() < deadline) {
        event = consumer.next(std::chrono::milliseconds(100));
        if (event)
            if (const auto* delivery = std::get_if<Delivery>(&*event)) return delivery;
    }
    throw Error(0, "no delivery within 10 s");
}

void measure(const std::string& url, int rate, int count) {
    const std::string queue = "cqrs.bench.round-trip";
    auto consumer = Connection::open(url, "", "bench consumer");
    auto publisher = Connection::open(url, "", "bench publisher");
    consumer.declare_queue(queue, replica_queue_options());
    consumer.consume(queue, 256);
    publisher.confirm_select();
    const std::string body(220, 'x');
    const auto begin = Clock::now();
    for (int i = 0; i < count; ++i) {
        std::this_thread::sleep_until(begin + std::chrono::seconds(1) * i / rate);
        while (publisher.next(std::chrono::milliseconds(0))) {
        }
        const auto sent = Clock::now();
        publisher.publish("", queue, true, Properties(), body);
        std::optional<BrokerEvent> event;
        const Delivery* delivery = next_delivery(consumer, event);
        std::cout << std::chrono::duration<double, std::milli>(Clock::now() - sent).count() << "\n";
        consumer.ack(delivery->tag, false);
    }
    consumer.delete_queue(queue);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::cerr << "usage: broker-round-trip URL RATE COUNT\n";
        return 2;
    }
    try {
        measure(argv[1], std::atoi(argv[2]), std::atoi(argv[3]));
    } catch (const std::exception& e) {
        std::cerr << "broker-round-trip: " << e.what() << "\n";
        return 1;
    }
}
