#include "admin/events.hpp"

#include <simdjson.h>

#include <stdexcept>

namespace cqrs {

void for_each_event(std::string_view body, const std::function<void(std::string_view)>& use) {
    namespace json = simdjson::ondemand;
    try {
        const simdjson::padded_string padded(body);
        json::parser parser;
        json::document document = parser.iterate(padded);
        for (auto element : document.get_array()) {
            json::object object = element.get_object();
            use(std::string_view(object.raw_json()));
        }
    } catch (const simdjson::simdjson_error& e) {
        throw std::invalid_argument(e.what());
    }
}

EventHead read_event_head(std::string_view event) {
    namespace json = simdjson::ondemand;
    try {
        const simdjson::padded_string padded(event);
        json::parser parser;
        json::document document = parser.iterate(padded);
        json::object object = document.get_object();
        EventHead head;
        std::string_view text;
        if (object["type"].get_string().get(text) == simdjson::SUCCESS) head.type = text;
        if (object["time"].get_string().get(text) == simdjson::SUCCESS) head.time = text;
        return head;
    } catch (const simdjson::simdjson_error& e) {
        throw std::invalid_argument(e.what());
    }
}

}  // namespace cqrs
