// What both ways of `tail` do when the broker goes away: try again until it is back.
#pragma once

#include <functional>
#include <string>

#include "admin/printer.hpp"
#include "stop.hpp"

namespace cqrs {

struct TailSource {
    std::function<std::string()> connect;  // returns the broker's host
    std::function<void()> follow;          // prints until stop or the printer is done
    std::string connected, again;          // words for the log: "listening at", "; events ..."
};

// Until stop or the printer is done: 0; 1 when the broker refuses access. broker::Error of the
// source is what is tried again; every other exception is passed on.
int tail_loop(const TailSource& source, const Stop& stop, const Printer& printer);

}  // namespace cqrs
