#include "plugin_output.hpp"

#include "compat.hpp"
#include "plugin_encoding.hpp"

extern "C" {
#include "replication/walsender.h"
#include "utils/timestamp.h"
}

namespace cqrs {
namespace {

// Nearer to the end than this, frames do not wait for company; nor for longer than this: what is
// there to read may be one large transaction, and no commit for a while.
constexpr Lsn kNear = 128 * 1024;
constexpr auto kPatience = std::chrono::milliseconds(5);
constexpr std::int64_t kEpochs =
    static_cast<std::int64_t>(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

std::int64_t unix_now() {
    return GetCurrentTimestamp() + kEpochs;
}

}  // namespace

Topic& Output::topic(std::string_view name) {
    for (auto& topic : topics_)
        if (topic->builder.topic() == name) return *topic;
    return *topics_.emplace_back(std::make_unique<Topic>(name));
}

std::string& Output::begin_event(Topic& topic, Lsn lsn) {
    FrameBuilder& builder = topic.builder;
    if (!options_.frames) {
        buffer_.clear();
        return buffer_;
    }
    if (builder.body_size() >= options_.batch_bytes ||
        builder.type_count() + 1 >= FrameBuilder::kMaxTypes)
        write_frame(topic, builder.last_lsn() == lsn, safe_lsn_);
    event_start_ = builder.body_size();
    return builder.begin_event();
}

void Output::drop_event(Topic& topic) {
    if (options_.frames)
        topic.builder.rollback_event();
    else
        buffer_.clear();
}

std::size_t Output::event_size(const Topic& topic) const {
    return options_.frames ? topic.builder.body_size() - event_start_ : buffer_.size();
}

void Output::end_event(Topic& topic, std::string_view type, bool notify, Lsn lsn,
                       std::int64_t time_us, bool shown) {
    if (options_.frames)
        topic.builder.end_event(type, notify, lsn, time_us);
    else if (shown)
        write_text();
}

void Output::write_text() {
    // The SQL functions make a text datum of it, which is in the database's encoding;
    // pg_recvlogical gets UTF-8. Everything in an event came from that encoding, or is ASCII.
    std::string_view text = buffer_;
    if (!am_walsender && !from_utf8(buffer_, text)) {
        ereport(WARNING, (errmsg("an event cannot be shown in this database's encoding"),
                          errhint("Read the slot in frame mode.")));
        return;
    }
    send(text);
}

void Output::write_frame(Topic& topic, bool more, Lsn safe_lsn) {
    buffer_.clear();
    topic.builder.encode(buffer_, more, safe_lsn, unix_now());
    topic.builder.clear();
    safe_lsn_ = safe_lsn;
    written_ = Clock::now();
    send(buffer_);
}

void Output::write_frames(Lsn safe_lsn) {
    Topic* last = nullptr;
    for (auto& topic : topics_) {
        if (topic->builder.empty()) continue;
        if (last) write_frame(*last, false, safe_lsn_);
        last = topic.get();
    }
    if (last) write_frame(*last, false, safe_lsn);
}

void Output::send(std::string_view bytes) {
    OutputPluginPrepareWrite(ctx_, true);
    appendBinaryStringInfo(ctx_->out, bytes.data(), static_cast<int>(bytes.size()));
    OutputPluginWrite(ctx_, true);
    if (buffer_.capacity() > FrameBuilder::kKeptBytes) {
        buffer_.clear();
        buffer_.shrink_to_fit();
    }
}

void Output::commit(Lsn lsn) {
    if (!options_.frames) return;
    bool any = false, full = false;
    for (auto& topic : topics_) {
        any |= !topic->builder.empty();
        full |= topic->builder.body_size() >= options_.batch_bytes;
    }
    if (!any) return nothing(lsn);
    last_commit_ = lsn;
    // The SQL functions stop where they like and forget what is held.
    if (!am_walsender) full = true;
    // Reading the pointer takes a lock: only when the last answer does not do.
    if (!full && lsn + kNear > known_end_) known_end_ = readable_wal_end();
    if (full || lsn + kNear > known_end_ || Clock::now() - written_ > kPatience) write_frames(lsn);
}

// A commit without events, and nothing is held. At the very end of WAL that is said: somebody may
// be waiting for it. Not while more is there to read, which will say more; so the cost is bounded
// by how often the reader has to wait for WAL.
void Output::nothing(Lsn lsn) {
    if (!am_walsender) return;
    if (lsn >= known_end_) known_end_ = readable_wal_end();
    if (lsn >= known_end_) progress(lsn);
}

void Output::progress(Lsn lsn) {
    if (!options_.frames) return;
    write_frames(last_commit_);
    buffer_.clear();
    encode_progress(buffer_, lsn, unix_now());
    safe_lsn_ = lsn;
    send(buffer_);
}

}  // namespace cqrs
