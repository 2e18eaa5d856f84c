#include "relay/batch.hpp"

#include <algorithm>

namespace cqrs::relay {

namespace {

// Position in a frame's commits while its events are walked through. decode_frame() has made sure
// that no commit is empty and that they add up to the events.
class CommitCursor {
  public:
    explicit CommitCursor(const Frame& frame) : frame_(frame), left_(frame.commits.at(0).events) {}
    void advance(std::size_t events) {
        while (events > left_) {
            events -= left_;
            left_ = frame_.commits.at(++index_).events;
        }
        left_ -= events;
    }
    // Of the last event passed.
    const FrameCommit& commit() const { return frame_.commits[index_]; }
    bool more() const { return left_ > 0 || (index_ + 1 == frame_.commits.size() && frame_.more); }

  private:
    const Frame& frame_;
    std::size_t index_ = 0;
    std::size_t left_;
};

}  // namespace

Batcher::Batcher(BatchLimits limits, SessionPtr session, TopicPositions start)
    : limits_(limits), session_(std::move(session)), positions_(std::move(start)) {}

std::int64_t Batcher::sequence(std::string_view topic) const {
    const auto found = positions_.find(topic);
    return found == positions_.end() ? 0 : found->second.sequence;
}

void Batcher::add(const Frame& frame, std::deque<Message>& out) {
    if (frame.events.empty()) return;
    auto slot = open_.find(frame.topic);
    if (slot == open_.end()) slot = open_.emplace(std::string(frame.topic), Message()).first;
    Message& open = slot->second;
    auto at = positions_.find(frame.topic);
    if (at == positions_.end())
        at = positions_.emplace(std::string(frame.topic), TopicPosition()).first;
    TopicPosition& position = at->second;

    // A frame stays whole rather than filling up what is open: one copy and one message less.
    if (open.count > 0 &&
        open.body.size() + frame.body.size() > limits_.batch_bytes + limits_.batch_bytes / 2)
        close(open, out);

    type_seen_.assign(frame.types.size(), 0);
    CommitCursor cursor(frame);
    for (std::size_t begin = 0; begin < frame.events.size();) {
        const std::size_t end = fitting(open, frame, begin);
        if (end == begin) {
            close(open, out);
            continue;
        }
        if (open.count == 0) {
            open.session = session_;
            open.topic = slot->first;
            open.sequence = position.sequence + 1;
            open.previous_lsn = position.lsn;
            open.routing_key.clear();
            open.other_types.clear();
            type_seen_.assign(frame.types.size(), 0);
        }
        append(open, frame, begin, end);
        cursor.advance(end - begin);
        position.sequence += static_cast<std::int64_t>(end - begin);
        position.lsn = open.lsn = cursor.commit().end_lsn;
        position.time_us = open.committed_us = cursor.commit().time_us;
        open.more = cursor.more();
        begin = end;
        if (begin < frame.events.size()) close(open, out);
    }
    if (open.body.size() >= limits_.batch_bytes ||
        (limits_.max_batch != 0 && open.count >= static_cast<std::int64_t>(limits_.max_batch)))
        close(open, out);
}

// How far the open message can take the frame's events: the index behind the last one.
std::size_t Batcher::fitting(const Message& open, const Frame& frame, std::size_t begin) const {
    const std::size_t soft = limits_.batch_bytes + limits_.batch_bytes / 2;
    std::size_t end = frame.events.size();
    if (limits_.max_batch != 0) {
        const std::size_t room = limits_.max_batch - static_cast<std::size_t>(open.count);
        end = std::min(end, begin + room);
    }
    std::size_t bytes = open.count ? open.body.size() + 1 : 1;  // with its ']'
    for (std::size_t i = begin; i < end; ++i) {
        const std::size_t with = bytes + frame.events[i].json.size() + 1;  // ',' or '['
        const bool first = open.count == 0 && i == begin;
        if (!first && with > limits_.max_message_bytes) return i;
        bytes = with;
        if (bytes >= soft) return i + 1;
    }
    return end;
}

void Batcher::append(Message& open, const Frame& frame, std::size_t begin, std::size_t end) {
    const char* from = frame.events[begin].json.data();
    const std::string_view last = frame.events[end - 1].json;
    const std::size_t length = static_cast<std::size_t>(last.data() + last.size() - from);
    const std::size_t before = open.count ? open.body.size() : 0;
    if (open.count == 0) {
        open.body.clear();
        open.body.reserve(length + 2);
        open.body += '[';
    } else {
        open.body += ',';
    }
    open.body.append(from, length);
    open.count += static_cast<std::int64_t>(end - begin);
    open_bytes_ += open.body.size() - before;

    for (std::size_t i = begin; i < end; ++i) {
        const std::uint16_t type = frame.events[i].type;
        if (type_seen_[type]) continue;
        type_seen_[type] = 1;
        const std::string_view name = frame.types[type].name;
        if (open.routing_key.empty())
            open.routing_key = name;
        else if (open.routing_key != name &&
                 std::find(open.other_types.begin(), open.other_types.end(), name) ==
                     open.other_types.end())
            open.other_types.emplace_back(name);
    }
}

void Batcher::close(Message& open, std::deque<Message>& out) {
    open_bytes_ -= open.body.size();
    open.body += ']';
    open.ready = Clock::now();
    out.push_back(std::move(open));
    open = Message();
}

void Batcher::flush(std::deque<Message>& out) {
    if (empty()) return;
    for (auto& [topic, open] : open_)
        if (open.count > 0) close(open, out);
}

}  // namespace cqrs::relay
