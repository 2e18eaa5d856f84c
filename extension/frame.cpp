// The frame codec. Layout byte by byte: ARCHITECTURE.md, "The frame".
#include "frame.hpp"

#include <array>
#include <cstring>

#ifdef POSTGRES_H
#error "frame.cpp is pure C++: no Postgres header may come in"
#endif

namespace cqrs {
namespace {

constexpr std::string_view kMagic = "CQF1";
constexpr std::uint8_t kMore = 1;
constexpr std::uint8_t kNotify = 1;
constexpr std::size_t kMinType = 2, kCommit = 20, kEvent = 6;

template <class T>
void put(std::string& out, T value) {
    std::array<char, sizeof(T)> bytes;
    for (std::size_t i = 0; i < sizeof(T); i++)
        bytes[i] = static_cast<char>(value >> (8 * (sizeof(T) - 1 - i)));
    out.append(bytes.data(), bytes.size());
}

// Every read is checked against what is left: a frame may come from anywhere.
class Reader {
  public:
    explicit Reader(std::string_view bytes) : rest_(bytes) {}

    template <class T>
    T get() {
        std::string_view bytes = take(sizeof(T));
        T value = 0;
        for (char c : bytes) value = static_cast<T>(value << 8 | static_cast<unsigned char>(c));
        return value;
    }

    std::string_view take(std::size_t n) {
        if (n > rest_.size()) throw FrameError("frame ends too early");
        std::string_view bytes = rest_.substr(0, n);
        rest_.remove_prefix(n);
        return bytes;
    }

    // A count whose items need at least `size` bytes each: refused before anything is reserved.
    std::uint32_t check_count(std::uint32_t count, std::size_t size) const {
        if (count > rest_.size() / size) throw FrameError("frame counts more than it holds");
        return count;
    }

    std::size_t left() const { return rest_.size(); }

  private:
    std::string_view rest_;
};

void put_head(std::string& out, FrameKind kind, bool more, std::string_view topic, Lsn safe_lsn,
              std::int64_t now_us) {
    out.append(kMagic);
    put(out, static_cast<std::uint8_t>(kind));
    put(out, static_cast<std::uint8_t>(more ? kMore : 0));
    put(out, static_cast<std::uint16_t>(topic.size()));
    put(out, safe_lsn);
    put(out, static_cast<std::uint64_t>(now_us));
}

void read_events(Reader& in, Frame& out, std::uint32_t events, std::uint32_t body_bytes) {
    std::uint64_t at = 0;
    for (std::uint32_t i = 0; i < events; i++) {
        const auto length = in.get<std::uint32_t>();
        const auto type = in.get<std::uint16_t>();
        if (length == 0) throw FrameError("frame holds an empty event");
        if (type >= out.types.size()) throw FrameError("frame's event has an unknown type");
        // The view is set below, once the body is known to be there; until then the offsets only.
        out.events.push_back({{nullptr, length}, type});
        at += length + (i ? 1U : 0U);
        if (at > body_bytes) throw FrameError("frame's events are longer than its body");
    }
    if (at != body_bytes) throw FrameError("frame's events are shorter than its body");
    if (in.left() != body_bytes) throw FrameError("frame's body has the wrong length");
    out.body = in.take(body_bytes);
    const char* p = out.body.data();
    for (std::uint32_t i = 0; i < events; i++) {
        if (i && *p++ != ',') throw FrameError("frame's events are not separated");
        out.events[i].json = {p, out.events[i].json.size()};
        p += out.events[i].json.size();
    }
}

}  // namespace

void decode_frame(std::string_view bytes, Frame& out) {
    out.topic = out.body = {};
    out.types.clear();
    out.commits.clear();
    out.events.clear();

    Reader in(bytes);
    if (in.take(kMagic.size()) != kMagic) throw FrameError("not a frame, or of another version");
    const auto kind = in.get<std::uint8_t>();
    const auto flags = in.get<std::uint8_t>();
    if (flags & ~kMore) throw FrameError("frame has unknown flags");
    const auto topic_bytes = in.get<std::uint16_t>();
    out.more = flags & kMore;
    out.safe_lsn = in.get<std::uint64_t>();
    out.time_us = static_cast<std::int64_t>(in.get<std::uint64_t>());

    if (kind == static_cast<std::uint8_t>(FrameKind::progress)) {
        out.kind = FrameKind::progress;
        if (topic_bytes || flags || in.left()) throw FrameError("progress frame holds more");
        return;
    }
    if (kind != static_cast<std::uint8_t>(FrameKind::events))
        throw FrameError("frame of an unknown kind");
    out.kind = FrameKind::events;
    const auto types = in.get<std::uint32_t>();
    const auto commits = in.get<std::uint32_t>();
    const auto events = in.get<std::uint32_t>();
    const auto body_bytes = in.get<std::uint32_t>();
    out.topic = in.take(topic_bytes);
    if (out.topic.empty()) throw FrameError("frame has no topic");
    if (events == 0) throw FrameError("frame has no events");

    out.types.reserve(in.check_count(types, kMinType));
    for (std::uint32_t i = 0; i < types; i++) {
        const auto type_flags = in.get<std::uint8_t>();
        if (type_flags & ~kNotify) throw FrameError("frame's type has unknown flags");
        const std::string_view name = in.take(in.get<std::uint8_t>());
        if (name.empty()) throw FrameError("frame's type has no name");
        out.types.push_back({name, (type_flags & kNotify) != 0});
    }

    std::uint64_t counted = 0;
    out.commits.reserve(in.check_count(commits, kCommit));
    for (std::uint32_t i = 0; i < commits; i++) {
        FrameCommit commit;
        commit.events = in.get<std::uint32_t>();
        commit.end_lsn = in.get<std::uint64_t>();
        commit.time_us = static_cast<std::int64_t>(in.get<std::uint64_t>());
        if (commit.events == 0) throw FrameError("frame's commit has no events");
        if (i && commit.end_lsn <= out.commits.back().end_lsn)
            throw FrameError("frame's commits are out of order");
        counted += commit.events;
        out.commits.push_back(commit);
    }
    if (counted != events) throw FrameError("frame's commits do not add up to its events");

    out.events.reserve(in.check_count(events, kEvent));
    read_events(in, out, events, body_bytes);
}

std::string& FrameBuilder::begin_event() {
    event_start_ = body_.size();
    if (!events_.empty()) body_.push_back(',');
    return body_;
}

void FrameBuilder::end_event(std::string_view type, bool notify, Lsn end_lsn,
                             std::int64_t commit_time_us) {
    if (type.empty() || type.size() > 255) throw FrameError("a type has 1 to 255 bytes");
    // Events of one kind come in runs: look at the last one's type first.
    std::size_t index = events_.empty() ? 0 : events_.back().type;
    if (index >= types_.size() || types_[index].first != type || types_[index].second != notify) {
        for (index = 0; index < types_.size(); index++)
            if (types_[index].first == type && types_[index].second == notify) break;
        if (index == kMaxTypes) throw FrameError("too many types in one frame");
        if (index == types_.size()) types_.emplace_back(type, notify);
    }
    if (commits_.empty() || commits_.back().end_lsn != end_lsn)
        commits_.push_back({0, end_lsn, commit_time_us});
    const std::size_t comma = events_.empty() ? 0 : 1;
    events_.push_back({static_cast<std::uint32_t>(body_.size() - event_start_ - comma),
                       static_cast<std::uint16_t>(index)});
    commits_.back().events++;
}

void FrameBuilder::rollback_event() {
    body_.resize(event_start_);
}

void FrameBuilder::encode(std::string& out, bool more, Lsn safe_lsn, std::int64_t now_us) const {
    std::size_t bytes =
        40 + topic_.size() + body_.size() + commits_.size() * kCommit + events_.size() * kEvent;
    for (const auto& [name, notify] : types_) bytes += kMinType + name.size();
    out.reserve(out.size() + bytes);
    put_head(out, FrameKind::events, more, topic_, safe_lsn, now_us);
    put(out, static_cast<std::uint32_t>(types_.size()));
    put(out, static_cast<std::uint32_t>(commits_.size()));
    put(out, static_cast<std::uint32_t>(events_.size()));
    put(out, static_cast<std::uint32_t>(body_.size()));
    out.append(topic_);
    for (const auto& [name, notify] : types_) {
        put(out, static_cast<std::uint8_t>(notify ? kNotify : 0));
        put(out, static_cast<std::uint8_t>(name.size()));
        out.append(name);
    }
    for (const FrameCommit& commit : commits_) {
        put(out, commit.events);
        put(out, commit.end_lsn);
        put(out, static_cast<std::uint64_t>(commit.time_us));
    }
    for (const Event& event : events_) {
        put(out, event.length);
        put(out, event.type);
    }
    out.append(body_);
}

void FrameBuilder::clear() {
    body_.clear();
    // A giant event must not keep its memory for ever.
    if (body_.capacity() > kKeptBytes) body_.shrink_to_fit();
    events_.clear();
    commits_.clear();
    types_.clear();
    event_start_ = 0;
}

void encode_progress(std::string& out, Lsn safe_lsn, std::int64_t now_us) {
    put_head(out, FrameKind::progress, false, {}, safe_lsn, now_us);
}

}  // namespace cqrs
