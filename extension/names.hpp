// The words of an event's type: prefix, topic, verb. Pure C++, no Postgres header, no allocation.
#pragma once

#include <cstddef>
#include <string_view>

namespace cqrs::names {

constexpr std::size_t max_prefix = 50;  // so that <prefix>.truncate fits a NOTIFY channel
constexpr std::size_t max_type = 63;    // the longest NOTIFY channel

constexpr bool letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
constexpr bool word_char(char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

// ^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$
constexpr bool words(std::string_view s) {
    if (s.empty() || !letter(s.front())) return false;
    char previous = s.front();
    for (char c : s.substr(1)) {
        if (c == '.' ? previous == '.' : !word_char(c)) return false;
        previous = c;
    }
    return previous != '.';
}

constexpr std::string_view topic_of(std::string_view type) { return type.substr(0, type.find('.')); }

constexpr bool reserved_topic(std::string_view topic) {
    return topic == "cqrs" || topic == "heartbeat";
}

// The verbs of table events. A domain event must not end in one behind a published prefix.
constexpr bool table_verb(std::string_view verb) {
    return verb == "create" || verb == "update" || verb == "delete" || verb == "truncate" ||
           verb == "resync" || verb == "stop";
}

// What is wrong, as a sentence, or nullptr.
constexpr const char* wrong_prefix(std::string_view s) {
    if (s.empty()) return "It is empty.";
    if (s.size() > max_prefix) return "It is longer than 50 bytes.";
    if (!words(s)) return "It is not words joined by dots, beginning with a letter.";
    if (reserved_topic(topic_of(s))) return "The topics \"cqrs\" and \"heartbeat\" are reserved.";
    return nullptr;
}

constexpr const char* wrong_type(std::string_view s) {
    if (s.empty()) return "It is empty.";
    if (s.size() > max_type) return "It is longer than 63 bytes.";
    if (!words(s)) return "It is not words joined by dots, beginning with a letter.";
    if (s.find('.') == s.npos) return "It has one word; a type is <topic>.<what happened> at least.";
    if (reserved_topic(topic_of(s))) return "The topics \"cqrs\" and \"heartbeat\" are reserved.";
    return nullptr;
}

}  // namespace cqrs::names
