// The stream of a session: frames to messages, confirmed checkpoints to relay_state to feedback.
#include "relay/source.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "relay/wire.hpp"

namespace cqrs::relay {

using namespace std::chrono_literals;
using postgres::Error;
using postgres::Remedy;

namespace {

// While there is always more to read, what is open goes out after so many frames.
constexpr std::size_t patient_frames = 8;
constexpr auto sql_limit = 30s;
// Frames that come while small messages merge are left unread so long: each would wake us, and take
// the processor from the walsender.
constexpr auto inattention = 2ms;
// At the end: so long for what is under way, but less once nothing moves any more.
constexpr auto drain_limit = 500ms;
constexpr auto drain_patience = 300ms;
// Replicas hear of progress at most so often, if there is any; less often while there is always
// more to read.
constexpr auto announcement_interval = 10ms, busy_announcement_interval = 50ms;
// Apart from the heartbeat: the answer is here before the heartbeat's own frame can be.
constexpr const char* ask_time =
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, pg_current_wal_insert_lsn()";

}  // namespace

Source::Source(const Settings& settings, Stop& stop, Handoff& handoff, Notifier& notifier,
               Metrics& metrics, Health& health)
    : settings_(settings),
      stop_(stop),
      handoff_(handoff),
      notifier_(notifier),
      metrics_(metrics),
      health_(health),
      frames_(metrics.counter("cqrs_relay_frames_total", "Frames read from the primary")),
      confirmed_lsn_(
          metrics.gauge("cqrs_relay_confirmed_lsn",
                        "WAL position up to which the broker has confirmed every event")),
      read_lsn_(metrics.gauge("cqrs_relay_read_lsn",
                              "WAL position up to which every event has been read")),
      epoch_(metrics.gauge("cqrs_relay_epoch", "Identity of the numbering in force")) {}

void Source::begin() {
    handoff_.reset();
    batcher_ = std::make_unique<Batcher>(
        BatchLimits{settings_.batch_bytes, settings_.max_batch, settings_.max_message_bytes},
        session_, state_.topics);
    push_retention();
    full_.clear();
    safe_lsn_ = checkpoint_lsn_ = state_.lsn;
    safe_positions_.reset();
    safe_time_us_ = 0;
    asked_.clear();
    announced_lsn_ = state_.lsn;
    status_due_ = true;
    frames_open_ = bytes_open_ = 0;
    sent_open_ = 0;
    idle_ticks_ = 0;
    const auto now = Clock::now();
    next_tick_ = read_moved_ = confirm_moved_ = now;
    last_announcement_ = {};
    last_checkpoint_ = now - settings_.heartbeat;
    if (notified_epoch_ != state_.epoch) notified_.clear();
    notified_epoch_ = state_.epoch;
    streamed_ = true;
    epoch_.Set(static_cast<double>(state_.epoch));
    health_.set("relay", "");
    health_.note("relay.epoch", std::to_string(state_.epoch));
    spdlog::info("relay: streaming from {}, epoch {}", postgres::format_lsn(state_.lsn),
                 state_.epoch);
}

void Source::pump(postgres::Connection& sql, Stream& stream) {
    begin();
    Statements statements(sql);
    while (!stop_.requested()) {
        const bool dry = read(stream);
        maybe_flush(dry);
        announce(dry);
        if (Clock::now() >= next_tick_) tick(statements);
        if (status_due_ || Clock::now() >= next_status_) send_status(stream);
        if (statements.age() > sql_limit)
            throw Error(Remedy::retry, "", "the primary does not answer SQL");
        if (handoff_.finished()) throw std::runtime_error("the publisher has ended");
        wait(stream, statements, dry);
    }
    finish(stream, statements);
}

// True: nothing more has arrived, or nothing more may be read now.
bool Source::read(Stream& stream) {
    for (int i = 0; i < 256; ++i) {
        if (handoff_.full()) return true;
        const auto item = stream.next();
        if (!item) return true;
        if (!item->frame.empty()) {
            on_frame(item->frame);
            continue;
        }
        if (item->reply_requested) status_due_ = true;
        if (item->wal_end > wal_end_) read_moved_ = Clock::now();
        wal_end_ = item->wal_end;
    }
    return false;
}

void Source::on_frame(std::string_view bytes) {
    try {
        decode_frame(bytes, frame_);
    } catch (const FrameError& e) {
        throw Error(Remedy::stop, "08P01",
                    fmt::format("the output plugin sent nonsense: {}", e.what()));
    }
    frames_.Increment();
    read_moved_ = Clock::now();
    const bool has_events = frame_.kind == FrameKind::events;
    contradiction_ = recall_.check(frame_, has_events ? batcher_->sequence(frame_.topic) : 0);
    if (!contradiction_.empty()) throw Error(Remedy::retry, "", contradiction_);
    // Events of a commit beyond safe_lsn_: what the topics were at safe_lsn_ is kept.
    if (has_events && frame_.safe_lsn <= safe_lsn_ && !safe_positions_)
        safe_positions_ = std::make_shared<const TopicPositions>(batcher_->positions());
    if (has_events) {
        auto counter = events_.find(frame_.topic);
        if (counter == events_.end()) {
            const std::string topic(frame_.topic);
            counter = events_
                          .emplace(topic, &metrics_.counter("cqrs_relay_events_total",
                                                            "Events read from the primary",
                                                            {{"topic", topic}}))
                          .first;
        }
        counter->second->Increment(static_cast<double>(frame_.events.size()));
        notify_events();
        batcher_->add(frame_, full_);
        handoff_.push(full_);
        ++frames_open_;
        bytes_open_ += frame_.body.size();
    }
    if (frame_.safe_lsn > safe_lsn_) {
        safe_lsn_ = frame_.safe_lsn;
        safe_positions_.reset();  // the batcher's are the ones
        read_lsn_.Set(static_cast<double>(safe_lsn_));
    }
    note_time();
}

// How old what has been read is by the primary's clock. Not the time of the frame: the plugin may
// write it long after the commits, and other ones wait behind it.
void Source::note_time() {
    while (!asked_.empty() && asked_.front().lsn <= safe_lsn_) {
        safe_time_us_ = std::max(safe_time_us_, asked_.front().time_us);
        asked_.pop_front();
    }
    if (!frame_.commits.empty() && frame_.commits.back().end_lsn <= safe_lsn_)
        safe_time_us_ = std::max(safe_time_us_, frame_.commits.back().time_us);
}

void Source::notify_events() {
    bool any = false;
    for (const FrameType& type : frame_.types) any |= type.notify;
    if (!any) return;
    // Events that come again after a lost connection were notified before.
    auto last = notified_.find(frame_.topic);
    if (last == notified_.end()) last = notified_.emplace(std::string(frame_.topic), 0).first;
    std::int64_t sequence = batcher_->sequence(frame_.topic);
    std::vector<Notifier::Notification> notifications;
    notifications.reserve(frame_.events.size());
    for (const FrameEvent& event : frame_.events) {
        if (++sequence <= last->second || !frame_.types[event.type].notify) continue;
        notifications.push_back(
            {std::string(frame_.types[event.type].name), notify_payload(event.json)});
    }
    last->second = std::max(last->second, sequence);
    notifier_.notify(std::move(notifications));
}

// What went out before it was full is not confirmed yet. If so, its confirmation wakes us.
bool Source::broker_is_busy() {
    if (handoff_.released() >= sent_open_) return false;
    handoff_.want_progress();
    return handoff_.released() < sent_open_;
}

// A message goes out when there is nothing more to read and the one that went out before it was
// full is confirmed; what comes meanwhile merges. No timer: low traffic is not held up, high
// traffic fills messages, and no more of them are on their way than the broker has time for.
void Source::maybe_flush(bool dry) {
    if (batcher_->empty() && safe_lsn_ == checkpoint_lsn_) return;
    if (bytes_open_ >= 4 * settings_.batch_bytes) return flush(false);
    if (!dry && frames_open_ < patient_frames) return;
    if (!broker_is_busy()) flush(false);
}

void Source::flush(bool announce) {
    batcher_->flush(full_);
    if (!full_.empty()) {
        handoff_.push(full_);
        sent_open_ = handoff_.pushed();
        sent_open_at_ = Clock::now();
    }
    frames_open_ = bytes_open_ = 0;
    if (announce || Clock::now() - last_checkpoint_ >= settings_.heartbeat / 2)
        push_checkpoint(announce);
}

void Source::push_checkpoint(bool announce) {
    if (safe_lsn_ == checkpoint_lsn_ && !announce) return;
    Checkpoint checkpoint;
    checkpoint.session = session_;
    checkpoint.lsn = safe_lsn_;
    checkpoint.time_us = safe_time_us_;
    checkpoint.topics = safe_positions_
                            ? safe_positions_
                            : std::make_shared<const TopicPositions>(batcher_->positions());
    checkpoint.heartbeat = announce;
    // Until the stream has come to what the broker knows, the broker's is the later one.
    checkpoint.witness = !recall_.pending();
    checkpoint.last = stop_.requested();
    handoff_.push(std::move(checkpoint));
    if (announce) {
        announced_lsn_ = safe_lsn_;
        last_announcement_ = Clock::now();
    }
    checkpoint_lsn_ = safe_lsn_;
    last_checkpoint_ = Clock::now();
}

// Somebody may be waiting for a commit that has no event in his topic: he hears at once that it was
// passed, not with the next heartbeat.
void Source::announce(bool dry) {
    if (safe_lsn_ <= announced_lsn_ || Clock::now() < next_announcement(dry)) return;
    flush(true);
}

Clock::time_point Source::next_announcement(bool dry) const {
    // A full frame came of a plugin that is behind: another one follows.
    const bool busy = !dry || frame_.body.size() >= settings_.batch_bytes;
    return last_announcement_ + (busy ? busy_announcement_interval : announcement_interval);
}

// Once per heartbeat interval.
void Source::tick(Statements& statements) {
    next_tick_ = Clock::now() + settings_.heartbeat;
    report_health();
    if (!statements.idle()) return;  // the primary is slow: one of each at a time
    if (const auto checkpoint = uncommitted())
        if (*checkpoint->topics != state_.topics || ++idle_ticks_ >= 10)
            commit_progress(statements, *checkpoint);
    statements.run(ask_time, {}, [this](const postgres::Result& result) {
        asked_.push_back({postgres::parse_lsn(result.get(0, 1)), result.get_int(0, 0)});
    });
    statements.run(heartbeat_sql_, {heartbeat_token_});
    look_at_retention(statements);
}

std::optional<Checkpoint> Source::uncommitted() const {
    auto checkpoint = handoff_.confirmed();
    if (!checkpoint || checkpoint->session != session_ || checkpoint->lsn <= state_.lsn)
        return std::nullopt;
    return checkpoint;
}

void Source::commit_progress(Statements& statements, const Checkpoint& checkpoint) {
    idle_ticks_ = 0;
    statements.run(advance_state_sql,
                   {settings_.slot, state_.owner, postgres::format_lsn(checkpoint.lsn),
                    to_json(*checkpoint.topics)},
                   [this, checkpoint](const postgres::Result& result) {
                       if (result.affected() != 1)
                           throw Error(Remedy::retry, "", "another relay owns relay_state now");
                       state_.lsn = checkpoint.lsn;
                       state_.topics = *checkpoint.topics;
                       status_due_ = true;
                   });
}

// Only what relay_state holds, committed, is ever confirmed to the slot.
void Source::send_status(Stream& stream) {
    stream.send_status(state_.lsn);
    status_due_ = false;
    next_status_ = Clock::now() + status_interval_;
}

void Source::wait(Stream& stream, Statements& statements, bool dry) {
    bool held = handoff_.full();
    if (held) {
        handoff_.want_progress();
        held = handoff_.full();
    }
    const bool unsent = stream.flush();
    auto until = std::min(next_tick_, next_status_);
    if (safe_lsn_ > announced_lsn_) until = std::min(until, next_announcement(dry));
    const auto attentive = sent_open_at_ + inattention;
    const bool merging = dry && !held && Clock::now() < attentive && broker_is_busy();
    if (merging) until = std::min(until, attentive);
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count() + 1;
    const int timeout = dry || held ? static_cast<int>(std::max<std::int64_t>(left, 0)) : 0;
    short events = held || merging ? 0 : POLLIN;
    if (unsent) events |= POLLOUT;
    pollfd fds[] = {{stop_.fd(), POLLIN, 0},
                    {handoff_.reader().fd(), POLLIN, 0},
                    {statements.socket(), POLLIN, 0},
                    {stream.socket(), events, 0}};
    poll(fds, 4, timeout);
    if (fds[1].revents) handoff_.reader().drain();
    // Also how the end of the primary is noticed: its walsender would wait for us for ever.
    if (fds[2].revents) statements.progress();
    if (held && (fds[3].revents & (POLLERR | POLLHUP)))
        throw Error(Remedy::retry, "", "the replication connection is gone");
}

// Orderly end: what was read is published and confirmed, relay_state and the slot know it.
void Source::finish(Stream& stream, Statements& statements) {
    flush(true);  // what the broker knows is the last word too
    handoff_.finish();
    const auto deadline = Clock::now() + drain_limit;
    const auto wait_until = [&](auto&& done) {
        auto moved = Clock::now();
        auto released = handoff_.released();
        while (!done() && Clock::now() < std::min(deadline, moved + drain_patience)) {
            pollfd fds[] = {{handoff_.reader().fd(), POLLIN, 0}, {statements.socket(), POLLIN, 0}};
            poll(fds, 2, 100);
            if (fds[0].revents) handoff_.reader().drain();
            if (fds[1].revents) statements.progress();
            if (fds[1].revents || handoff_.released() != released) moved = Clock::now();
            released = handoff_.released();
        }
    };
    wait_until([&] { return handoff_.finished() && statements.idle(); });
    if (!handoff_.finished())
        spdlog::warn("relay: {} messages are unconfirmed; they are sent again at the next start",
                     handoff_.pending());
    if (const auto checkpoint = uncommitted(); checkpoint && statements.idle()) {
        commit_progress(statements, *checkpoint);
        wait_until([&] { return statements.idle(); });
    }
    send_status(stream);
    stream.flush();
}

void Source::report_health() {
    const auto now = Clock::now();
    const auto confirmed = handoff_.confirmed();
    const Lsn lsn = confirmed && confirmed->session == session_ ? confirmed->lsn : state_.lsn;
    const std::size_t released = handoff_.released();
    if (lsn != confirmed_seen_ || released != released_seen_) confirm_moved_ = now;
    confirmed_seen_ = lsn;
    released_seen_ = released;
    confirmed_lsn_.Set(static_cast<double>(lsn));
    health_.note("relay.lsn", postgres::format_lsn(lsn));

    const auto limit = std::max<Clock::duration>(15s, 5 * settings_.heartbeat);
    const auto seconds = [&](Clock::time_point since) {
        return std::chrono::duration_cast<std::chrono::seconds>(now - since).count();
    };
    std::string reason;
    if (handoff_.pending() > 0 && now - confirm_moved_ > limit)
        reason = fmt::format(
            "held back: the broker has confirmed none of {} messages for {} s (the slowest bound "
            "queue decides)",
            handoff_.pending(), seconds(confirm_moved_));
    else if (!handoff_.full() && now - read_moved_ > limit)
        reason = fmt::format("the primary has sent nothing for {} s, not even heartbeats",
                             seconds(read_moved_));
    health_.set("relay", reason);
}

}  // namespace cqrs::relay
