// Between the thread that reads Postgres and the thread that publishes: messages and checkpoints
// one way, bounded by bytes; confirmed checkpoints the other way. Wakes either side through an
// eventfd.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "relay/types.hpp"
#include "wakeup.hpp"

namespace cqrs::relay {

class Handoff {
  public:
    struct Reset {};   // a new session: forget what came before
    struct Finish {};  // nothing more will come: publish what is there, then end
    using Item = std::variant<Message, Checkpoint, Retention, Reset, Finish>;

    explicit Handoff(std::size_t limit_bytes) : limit_(limit_bytes) {}

    // --- the reader's side
    void push(std::deque<Message>& messages);  // empties it
    void push(Checkpoint checkpoint);
    void push(Retention retention);  // carried out before the messages behind it are published
    std::vector<HistoryState> history_states();  // what came of it since the last call
    void reset();
    void finish();
    bool full() const noexcept { return bytes_.load(std::memory_order_relaxed) >= limit_; }
    // Messages handed over since the start.
    std::size_t pushed() const noexcept { return pushed_; }
    // Those of them that are not confirmed yet.
    std::size_t pending() const noexcept { return pending_.load(std::memory_order_relaxed); }
    // Those that are confirmed or forgotten: moves while the broker confirms.
    std::size_t released() const noexcept { return released_.load(std::memory_order_relaxed); }
    // Ask to be woken at the next progress; check the condition again after it, before waiting.
    void want_progress() noexcept { wanted_.store(true); }
    std::optional<Checkpoint> confirmed() const;
    bool finished() const noexcept { return finished_.load(); }
    Wakeup& reader() noexcept { return reader_; }

    // --- the publisher's side
    void take(std::deque<Item>& out);
    // Messages and bytes that left the ledger, whatever the reason.
    void release(std::size_t messages, std::size_t bytes) noexcept;
    void confirm(Checkpoint checkpoint);
    void report(std::vector<HistoryState> states);
    void set_finished() noexcept;
    Wakeup& publisher() noexcept { return publisher_; }

  private:
    const std::size_t limit_;
    mutable std::mutex mutex_;
    std::deque<Item> items_;
    std::optional<Checkpoint> confirmed_;
    std::vector<HistoryState> history_states_;
    std::size_t pushed_ = 0;  // the reader's
    std::atomic<std::size_t> bytes_{0}, pending_{0}, released_{0};
    std::atomic<bool> wanted_{false}, finished_{false};
    Wakeup reader_, publisher_;
};

}  // namespace cqrs::relay
