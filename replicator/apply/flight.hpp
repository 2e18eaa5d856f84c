// A batch that a thread of its own writes while the next one is read, and perhaps written too over
// another connection. Flights commit in the order in which they began.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apply/key_set.hpp"
#include "apply/lane.hpp"
#include "apply/position.hpp"
#include "wakeup.hpp"

namespace cqrs::apply {

struct Flight {
    std::vector<const Event*> events;
    std::uint32_t number = 0;  // counts the session's
    std::size_t lane = 0;      // over which it is written; 0: the session's own connection
    std::size_t bytes = 0;     // what its messages hold, about
    bool beside = false;       // begun while another one was on its way
    bool lazily = false;       // its commit does not wait for the disk
    bool independent = false;  // nothing but rows, each found by the key in use: see lane.hpp
    bool only_creates = false;
    std::optional<KeySet> keys;      // made when a later flight asks
    std::shared_future<void> begun;  // it holds its number, or has failed
    std::shared_future<postgres::WalEnd> end;
    std::shared_ptr<Wakeup> landed = std::make_shared<Wakeup>();  // signalled just before `end` is

    Boundary to() const;
    bool over() const { return end.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }
};

// What the thread of a flight has for itself, and what it hears of the flight before.
struct Course {
    postgres::Connection& connection;
    Writer& writer;
    std::string topic, handlers;  // handlers: Handlers::version()
    std::uint32_t number;
    Position from;
    Boundary to;
    bool lazily;
    std::vector<const Event*> events;
    std::vector<const Event*> bound;  // those of them whose rows a flight before it touches
    struct Before {
        std::uint32_t number;
        std::shared_future<void> begun;
        std::shared_future<postgres::WalEnd> end;
    };
    std::optional<Before> before;  // none: nothing else is on its way
};

// Writes and commits. Throws what Writer does, Restart, postgres::Error, and what the flight before
// has thrown; nothing of it is there then, and nobody waits for it any more.
postgres::WalEnd fly(const Course& course, std::promise<void> begun);

}  // namespace cqrs::apply
