// The frame: what the output plugin hands to the relay, one per OutputPluginWrite.
// Layout byte by byte: ARCHITECTURE.md, "The frame". All integers big-endian.
//
// Pure C++: includes no Postgres header, shared by the extension and the replicator.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace cqrs {

using Lsn = std::uint64_t;

enum class FrameKind : std::uint8_t {
    events = 1,    // events of one topic
    progress = 2,  // no events: the relay's heartbeat came by; everything before safe_lsn was sent
};

// One committed transaction's share of a frame (or the part of it that this frame holds).
struct FrameCommit {
    std::uint32_t events = 0;  // how many of the frame's events belong to it
    Lsn end_lsn = 0;           // end LSN of the commit record, as in the events' ids
    std::int64_t time_us = 0;  // commit time, microseconds since the Unix epoch
};

struct FrameType {
    std::string_view name;  // "parking.create"
    bool notify = false;    // publish(..., notify => true): the relay notifies on the primary
};

struct FrameEvent {
    std::string_view json;   // one CloudEvent, valid UTF-8
    std::uint16_t type = 0;  // index into Frame::types
};

// Decoded view: string_views point into the buffer handed to decode().
struct Frame {
    FrameKind kind = FrameKind::events;
    bool more = false;  // the last commit goes on in the next frame of this topic
    // Every event of every commit that ends at or before safe_lsn is in this frame or in one
    // before, and if it differs from the previous frame's, no event of a later commit has been sent
    // yet. This is the only LSN that may ever be confirmed.
    Lsn safe_lsn = 0;
    std::int64_t time_us = 0;  // when the plugin wrote the frame
    std::string_view topic;    // empty for progress
    std::string_view body;     // the events' JSON joined by ',' without brackets
    std::vector<FrameType> types;
    std::vector<FrameCommit> commits;
    std::vector<FrameEvent> events;
};

struct FrameError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Reuses the vectors of `out`. Throws FrameError on anything that is not a whole, consistent frame:
// it must be safe on hostile input (fuzzed).
void decode_frame(std::string_view bytes, Frame& out);

// Collects the events of one topic; reused after clear(), which keeps memory of the usual size.
class FrameBuilder {
  public:
    explicit FrameBuilder(std::string topic) : topic_(std::move(topic)) {}

    // The event is written straight into the body: body() is given to the JSON writer between
    // begin_event() and end_event(); rollback_event() forgets what was written since begin_event().
    std::string& begin_event();
    void end_event(std::string_view type, bool notify, Lsn end_lsn, std::int64_t commit_time_us);
    void rollback_event();

    // More types than this do not go into one frame: the caller flushes before (end_event()
    // throws).
    static constexpr std::size_t kMaxTypes = 1024;

    static constexpr std::size_t kKeptBytes = 1024 * 1024;

    bool empty() const { return events_.empty(); }
    std::size_t type_count() const { return types_.size(); }
    // End LSN of the last commit in it, 0 if empty.
    Lsn last_lsn() const { return commits_.empty() ? 0 : commits_.back().end_lsn; }
    std::size_t body_size() const { return body_.size(); }
    const std::string& topic() const { return topic_; }

    // Appends the frame to `out`. body may be large: `out` is what OutputPluginWrite sends.
    void encode(std::string& out, bool more, Lsn safe_lsn, std::int64_t now_us) const;
    void clear();

  private:
    struct Event {
        std::uint32_t length;
        std::uint16_t type;
    };
    std::string topic_;
    std::string body_;
    std::size_t event_start_ = 0;
    std::vector<Event> events_;
    std::vector<FrameCommit> commits_;
    std::vector<std::pair<std::string, bool>> types_;
};

void encode_progress(std::string& out, Lsn safe_lsn, std::int64_t now_us);

}  // namespace cqrs
