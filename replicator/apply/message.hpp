// A message of the broker: headers checked, body decoded into events and rows. Pure: no server.
// Hostile input ends in Refused, never in a crash.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "apply/arena.hpp"
#include "apply/errors.hpp"
#include "apply/event.hpp"
#include "apply/table.hpp"
#include "broker/connection.hpp"

namespace cqrs::apply {

struct MessageHead {
    std::string source, topic;
    std::int64_t epoch = 0, sequence = 0, count = 0;
    std::int64_t committed = 0;  // us since 1970
    std::uint64_t lsn = 0, previous_lsn = 0;
    bool more = false;
    std::int64_t last() const { return sequence + count - 1; }
};
MessageHead read_head(const broker::Headers& headers);  // throws Refused

// Owns the body that its events point into; does not move.
struct Message {
    std::uint64_t tag = 0;  // delivery tag; 0: not from the broker (spool)
    MessageHead head;
    std::string body;
    Arena arena;
    std::vector<Event> events;  // those that were not skipped
    std::size_t bytes() const {
        return body.capacity() + arena.allocated() + events.capacity() * sizeof(Event);
    }
};

class Handlers;

// One topic's view of its subscriptions and handlers; keeps simdjson's buffers. One thread.
class Decoder {
  public:
    explicit Decoder(const std::vector<Table>& tables, Handlers* handlers = nullptr);
    ~Decoder();
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;

    // Fills message.events with the events numbered `from` and later. Throws Refused, or Halt when
    // the replica's table lacks a column or a key.
    void decode(Message& message, std::int64_t from);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace cqrs::apply
