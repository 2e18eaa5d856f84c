// What was handed to the broker, in order, and how far the broker has confirmed it without a hole.
// Pure: no I/O, no clock, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "relay/types.hpp"

namespace cqrs::relay {

class Ledger {
  public:
    void append(Message message);
    // Replaces a checkpoint that no message stands behind.
    void append(Checkpoint checkpoint);

    // The first message that is not published; nullptr: none.
    const Message* next() const;
    void published(std::uint64_t tag);  // next() was, under this delivery tag (ascending)

    // An ack or nack of the broker, for one tag or for all up to it (tag 0: for all). Unknown tags
    // are ignored: heartbeats, or messages of a session that is gone. False: one of ours was
    // refused.
    bool confirm(std::uint64_t tag, bool multiple, bool ack);

    // The broker had no queue for the message. False if it is not known.
    bool mark_returned(const std::string& topic, std::int64_t sequence);

    // The connection is gone: everything from the first unconfirmed message on is published again,
    // also what was confirmed behind it, so that every queue keeps the order.
    void resend();
    void clear();

    // Takes away the confirmed messages at the head; the last checkpoint passed, if any.
    struct Progress {
        std::size_t messages = 0, bytes = 0;
        std::optional<Checkpoint> checkpoint;
    };
    // on_message(message, returned) for each one.
    template <class OnMessage>
    Progress advance(OnMessage&& on_message);

    std::size_t in_flight() const { return in_flight_; }  // published, not confirmed
    std::size_t in_flight_bytes() const { return in_flight_bytes_; }
    std::size_t size() const { return entries_.size(); }
    std::size_t bytes() const { return bytes_; }
    bool empty() const { return entries_.empty() && checkpoints_.empty(); }
    const Message* oldest() const { return entries_.empty() ? nullptr : &entries_.front().message; }

  private:
    struct Entry {
        Message message;
        std::uint64_t tag = 0;
        bool confirmed = false, returned = false;
    };
    struct Mark {
        std::uint64_t after;  // how many messages, ever, stand before it
        Checkpoint checkpoint;
    };
    bool settle(Entry& entry, bool ack);
    std::optional<Checkpoint> pass_checkpoints();

    std::deque<Entry> entries_;
    std::deque<Mark> checkpoints_;
    std::uint64_t base_ = 0;     // messages taken away so far
    std::size_t published_ = 0;  // of entries_
    std::size_t bytes_ = 0, in_flight_ = 0, in_flight_bytes_ = 0;
};

template <class OnMessage>
Ledger::Progress Ledger::advance(OnMessage&& on_message) {
    Progress progress;
    while (published_ > 0 && entries_.front().confirmed) {
        Entry& entry = entries_.front();
        on_message(entry.message, entry.returned);
        progress.messages += 1;
        progress.bytes += entry.message.body.size();
        bytes_ -= entry.message.body.size();
        entries_.pop_front();
        --published_;
        ++base_;
    }
    progress.checkpoint = pass_checkpoints();
    return progress;
}

}  // namespace cqrs::relay
