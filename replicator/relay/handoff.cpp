#include "relay/handoff.hpp"

#include <utility>

namespace cqrs::relay {

void Handoff::push(std::deque<Message>& messages) {
    if (messages.empty()) return;
    std::size_t bytes = 0;
    for (const Message& message : messages) bytes += message.body.size();
    bytes_ += bytes;
    pending_ += messages.size();
    pushed_ += messages.size();
    {
        const std::lock_guard lock(mutex_);
        for (Message& message : messages) items_.emplace_back(std::move(message));
    }
    messages.clear();
    publisher_.signal();
}

void Handoff::push(Checkpoint checkpoint) {
    {
        const std::lock_guard lock(mutex_);
        // While the broker is away one comes with every heartbeat: the last says it all.
        auto* last = items_.empty() ? nullptr : std::get_if<Checkpoint>(&items_.back());
        if (last) {
            checkpoint.heartbeat |= last->heartbeat;
            *last = std::move(checkpoint);
        } else {
            items_.emplace_back(std::move(checkpoint));
        }
    }
    publisher_.signal();
}

void Handoff::push(Retention retention) {
    {
        const std::lock_guard lock(mutex_);
        items_.emplace_back(std::move(retention));
    }
    publisher_.signal();
}

void Handoff::report(std::vector<HistoryState> states) {
    const std::lock_guard lock(mutex_);
    for (HistoryState& state : states) history_states_.push_back(std::move(state));
}

std::vector<HistoryState> Handoff::history_states() {
    const std::lock_guard lock(mutex_);
    return std::exchange(history_states_, {});
}

void Handoff::reset() {
    {
        const std::lock_guard lock(mutex_);
        std::size_t messages = 0, bytes = 0;
        for (const Item& item : items_)
            if (const auto* message = std::get_if<Message>(&item)) {
                messages += 1;
                bytes += message->body.size();
            }
        items_.clear();
        items_.emplace_back(Reset{});
        confirmed_.reset();
        bytes_ -= bytes;
        pending_ -= messages;
        released_ += messages;
    }
    publisher_.signal();
}

void Handoff::finish() {
    {
        const std::lock_guard lock(mutex_);
        items_.emplace_back(Finish{});
    }
    publisher_.signal();
}

std::optional<Checkpoint> Handoff::confirmed() const {
    const std::lock_guard lock(mutex_);
    return confirmed_;
}

void Handoff::take(std::deque<Item>& out) {
    const std::lock_guard lock(mutex_);
    if (out.empty()) {
        out.swap(items_);
        return;
    }
    for (Item& item : items_) out.push_back(std::move(item));
    items_.clear();
}

void Handoff::release(std::size_t messages, std::size_t bytes) noexcept {
    if (messages == 0) return;
    bytes_ -= bytes;
    pending_ -= messages;
    released_ += messages;
    if (wanted_.exchange(false)) reader_.signal();
}

void Handoff::confirm(Checkpoint checkpoint) {
    {
        const std::lock_guard lock(mutex_);
        confirmed_ = std::move(checkpoint);
    }
    if (wanted_.exchange(false)) reader_.signal();
}

void Handoff::set_finished() noexcept {
    finished_ = true;
    reader_.signal();
}

}  // namespace cqrs::relay
