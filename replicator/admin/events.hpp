// Splits the body of a message into its events, byte for byte.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace cqrs {

// Calls `use` with the text of each element of the JSON array `body`. Throws std::invalid_argument
// if it is no array of objects; elements before the fault have been used by then.
void for_each_event(std::string_view body, const std::function<void(std::string_view)>& use);

// Of one such element; "" where it has no such attribute. Throws std::invalid_argument.
struct EventHead {
    std::string type, time;
};
EventHead read_event_head(std::string_view event);

}  // namespace cqrs
