#include "relay/ledger.hpp"

#include <algorithm>

namespace cqrs::relay {

void Ledger::append(Message message) {
    bytes_ += message.body.size();
    entries_.push_back(Entry{.message = std::move(message)});
}

void Ledger::append(Checkpoint checkpoint) {
    const std::uint64_t after = base_ + entries_.size();
    if (!checkpoints_.empty() && checkpoints_.back().after == after) {
        checkpoint.heartbeat |= checkpoints_.back().checkpoint.heartbeat;
        checkpoints_.back().checkpoint = std::move(checkpoint);
        return;
    }
    checkpoints_.push_back({after, std::move(checkpoint)});
}

const Message* Ledger::next() const {
    return published_ < entries_.size() ? &entries_[published_].message : nullptr;
}

void Ledger::published(std::uint64_t tag) {
    Entry& entry = entries_.at(published_++);
    entry.tag = tag;
    ++in_flight_;
    in_flight_bytes_ += entry.message.body.size();
}

bool Ledger::settle(Entry& entry, bool ack) {
    if (!ack) return entry.confirmed;
    if (!entry.confirmed) {
        entry.confirmed = true;
        --in_flight_;
        in_flight_bytes_ -= entry.message.body.size();
    }
    return true;
}

bool Ledger::confirm(std::uint64_t tag, bool multiple, bool ack) {
    const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(published_);
    if (!multiple) {
        const auto found = std::lower_bound(
            entries_.begin(), end, tag, [](const Entry& e, std::uint64_t t) { return e.tag < t; });
        return found == end || found->tag != tag || settle(*found, ack);
    }
    bool good = true;
    for (auto it = entries_.begin(); it != end && (tag == 0 || it->tag <= tag); ++it)
        good &= settle(*it, ack);
    return good;
}

bool Ledger::mark_returned(const std::string& topic, std::int64_t sequence) {
    for (std::size_t i = 0; i < published_; ++i) {
        Entry& entry = entries_[i];
        if (entry.message.sequence != sequence || entry.message.topic != topic) continue;
        entry.returned = true;
        return true;
    }
    return false;
}

void Ledger::resend() {
    for (std::size_t i = 0; i < published_; ++i) {
        entries_[i].tag = 0;
        entries_[i].confirmed = entries_[i].returned = false;
    }
    published_ = in_flight_ = in_flight_bytes_ = 0;
}

void Ledger::clear() {
    entries_.clear();
    checkpoints_.clear();
    published_ = bytes_ = in_flight_ = in_flight_bytes_ = 0;
}

std::optional<Checkpoint> Ledger::pass_checkpoints() {
    std::optional<Checkpoint> last;
    while (!checkpoints_.empty() && checkpoints_.front().after <= base_) {
        const bool heartbeat = last && last->heartbeat;
        last = std::move(checkpoints_.front().checkpoint);
        last->heartbeat |= heartbeat;
        checkpoints_.pop_front();
    }
    return last;
}

}  // namespace cqrs::relay
