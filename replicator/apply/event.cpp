#include "apply/event.hpp"

#include <charconv>

#include "postgres/connection.hpp"

namespace cqrs::apply {

Verb parse_verb(std::string_view word) {
    if (word == "create") return Verb::create;
    if (word == "update") return Verb::update;
    if (word == "delete") return Verb::remove;
    if (word == "truncate") return Verb::truncate;
    if (word == "resync") return Verb::resync;
    if (word == "stop") return Verb::stop;
    return Verb::other;
}

std::optional<EventId> parse_id(std::string_view id) {
    const auto dot = id.rfind('.');
    if (dot == std::string_view::npos) return std::nullopt;
    EventId out{};
    const std::string_view index = id.substr(dot + 1);
    const auto [end, error] = std::from_chars(index.data(), index.data() + index.size(), out.index);
    if (error != std::errc{} || end != index.data() + index.size()) return std::nullopt;
    try {
        out.lsn = postgres::parse_lsn(id.substr(0, dot));
    } catch (const std::invalid_argument&) {
        return std::nullopt;
    }
    return out;
}

}  // namespace cqrs::apply
