// Between our types and rabbitmq-c's tables, bytes and properties. For connection.cpp and
// login.cpp.
#pragma once

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#else
#include <amqp.h>
#endif

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "broker/connection.hpp"

namespace cqrs::broker::wire {

inline amqp_bytes_t bytes(std::string_view text) {  // borrowed: valid as long as text
    return {text.size(), const_cast<char*>(text.data())};
}
inline std::string to_string(amqp_bytes_t b) {
    return b.len ? std::string(static_cast<const char*>(b.bytes), b.len) : std::string();
}

// Owns the entries of an amqp_table_t; keys and string values are borrowed.
class Table {
  public:
    Table() = default;
    explicit Table(const Headers& headers);
    void add(std::string_view key, bool value);
    void add(std::string_view key, std::int64_t value);
    void add(std::string_view key, const std::string& value);
    void add(std::string_view key, std::string&& value) = delete;  // values are borrowed
    void add(std::string_view key, const std::vector<std::string>& value);
    void add(std::string_view key, const Table& value);
    void add(std::string_view key, Timestamp value);
    amqp_table_t table() const;

  private:
    amqp_field_value_t& entry(std::string_view key, int kind);
    std::vector<amqp_table_entry_t> entries_;
    std::deque<std::vector<amqp_field_value_t>> arrays_;
};

// A message that amqp_read_message() filled.
class Message {
  public:
    Message() = default;
    ~Message() {
        if (owned_) amqp_destroy_message(&message_);
    }
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;
    amqp_message_t* out() { return &message_; }
    void own() { owned_ = true; }  // it was filled: on failure rabbitmq-c has freed it itself
    const amqp_message_t* operator->() const { return &message_; }

  private:
    amqp_message_t message_{};
    bool owned_ = false;
};

amqp_basic_properties_t from_properties(const Properties& properties, const Table& headers);
Properties to_properties(const amqp_basic_properties_t& raw);

}  // namespace cqrs::broker::wire
