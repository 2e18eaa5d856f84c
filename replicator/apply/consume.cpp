// Session: messages in, acknowledgements out.
#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apply/session.hpp"
#include "broker/compression.hpp"

namespace cqrs::apply {

namespace {
// Heartbeats, over this long: what they name was confirmed before they were sent.
constexpr int suspicion = 3;
constexpr auto suspicion_time = std::chrono::seconds(2);
// The relay sends messages of this size only when it is behind: more are on their way, and it pays
// to write them together.
constexpr std::size_t large_message = std::size_t{128} * 1024;
constexpr auto more_is_near = std::chrono::milliseconds(10);
}  // namespace

void Session::consume() {
    const FlightsEnd flights_end{*this};
    start_consuming();
    if (spooling_) {
        const auto last = last_spooled(*replica_, topic_);
        if (last && !last->more) apply_spool();
    }
    begun_ = std::chrono::steady_clock::now();
    healthy_(false);
    while (!control_.stop.requested() && !control_.woken()) {
        auto event = broker_->next(std::chrono::milliseconds(0));
        if (!event) {
            idle();
            continue;
        }
        if (const auto* cancelled = std::get_if<broker::Cancelled>(&*event))
            throw Restart("queue " + queue_ + " was deleted (consumer " + cancelled->consumer_tag +
                          " cancelled)");
        if (auto* delivery = std::get_if<broker::Delivery>(&*event)) receive(std::move(*delivery));
        if (flight_over()) end_flight();
        if (batch_is_due()) write_complete();
        spool_more();
    }
    settle();
}

// Commits wait for the disk only when the window of unacknowledged messages fills up: then the next
// one brings those before it along.
bool Session::lazy() const {
    return lazy_commits_ &&
           unacked_.size() * 2 < static_cast<std::size_t>(context_.settings.prefetch);
}

// Nobody else asks while nothing comes: the server's WAL writer flushes within half a second.
void Session::watch_flushes() {
    // Somebody may have written behind our commit what nobody flushes.
    constexpr int patience = 10;
    if (++flush_looks_ > patience) return settle();
    flushes_.flushed(replica_->wal_end().flushed);
    acknowledge();
}

// The end: what is applied need not come again. A commit that waits brings all others along.
void Session::settle() {
    end_flights();
    if (!flushes_.waiting()) return;
    replica_->query("UPDATE cqrs.position SET applied_at = applied_at WHERE topic = $1", {topic_});
    flushes_.all_flushed();
    acknowledge();
}

// Nothing has come: what is here is written at once, unless more is near.
void Session::idle() {
    if (flight_over()) end_flight();
    const bool writing = !flights_.empty();
    if (!writing) {
        if (complete_ == 0) {
            close_idle_lanes();
            watch_heartbeat();
            if (at_fence()) return hold();
        } else if (std::chrono::steady_clock::now() >= more_until_) {
            return write_complete();
        }
    }
    if (broker_->buffered()) return;
    if (!writing) clear_stop();
    // Nobody's vacuum waits for a stream that has stopped.
    constexpr auto early_patience = std::chrono::seconds(10);
    if (early_ && std::chrono::steady_clock::now() - early_->at > early_patience) abandon_early();
    pollfd fds[] = {{broker_->socket(), POLLIN, 0},
                    {control_.stop.fd(), POLLIN, 0},
                    {control_.fd(), POLLIN, 0},
                    {writing ? flights_.front().landed->fd() : -1, POLLIN, 0}};
    constexpr int often = 100, seldom = 500;
    const int timeout = !writing && complete_ > 0 ? static_cast<int>(more_is_near.count())
                        : flushes_.waiting()      ? often
                                                  : seldom;
    if (poll(fds, 4, timeout) == 0 && flushes_.waiting() && !writing && complete_ == 0)
        watch_flushes();
}

// What it stopped at did not come again: the cause is gone.
void Session::clear_stop() {
    if (position_.state != "stopped" || !pending_.empty() || spooling_ ||
        std::chrono::steady_clock::now() - begun_ < std::chrono::seconds(3))
        return;
    replica_->query("UPDATE cqrs.position SET state = 'live', error = NULL WHERE topic = $1",
                    {topic_});
    position_.state = "live";
    healthy_(true);
}

void Session::receive(broker::Delivery&& delivery) {
    suspicious_ = 0;
    auto message = std::make_unique<Message>();
    try {
        message->head = read_head(delivery.properties.headers);
        if (message->head.topic != topic_) throw Refused("it is of another topic");
        if (const auto it = delivery.properties.headers.find("x-delivery-count");
            it != delivery.properties.headers.end())
            if (const auto* n = std::get_if<std::int64_t>(&it->second); n && *n == 11)
                spdlog::warn(
                    "apply: {}: messages were delivered {} times already; a policy with a "
                    "delivery-limit on queue {} would drop them",
                    topic_, *n, queue_);
        message->tag = delivery.tag;
        try {
            message->body = broker::decoded_body(delivery.properties.content_encoding,
                                                 std::move(delivery.body));
        } catch (const std::invalid_argument& e) {
            throw Refused(e.what());
        }
        if (!check_epoch(message->head)) {
            unacked_.push_back({delivery.tag, next_ - 1});
            return acknowledge();
        }
        const bool copied = in_copy(message->head);
        if (!copied && !position_.sequence) meet(message->head);
        if (copied || message->head.last() < next_) {
            if (!copied) check_duplicate(message->head);
            context_.metrics
                .counter("cqrs_apply_duplicates_total", "Events that had been applied already",
                         {{"topic", topic_}})
                .Increment(static_cast<double>(message->head.count));
            unacked_.push_back({delivery.tag, next_ - 1});
            return acknowledge();
        }
        check_sequence(message->head);
        take(std::move(message));
    } catch (const Refused& e) {
        refuse(delivery, e.what());
    } catch (const Halt&) {
        // What came before it is whole and right.
        if (complete_ > 0) apply_complete();
        throw;
    } catch (const NeedCopy&) {
        if (complete_ > 0) apply_complete();
        throw;
    }
}

void Session::refuse(const broker::Delivery& delivery, const std::string& reason) {
    spdlog::error("apply: {}: message {} refused: {}", topic_,
                  delivery.properties.message_id.empty() ? "without message_id"
                                                         : delivery.properties.message_id,
                  reason);
    context_.metrics
        .counter("cqrs_apply_refused_total", "Messages that were not understood",
                 {{"topic", topic_}})
        .Increment();
    unacked_.push_back({delivery.tag, next_ - 1});
    acknowledge();
}

// False: of an older epoch, which is history.
bool Session::check_epoch(const MessageHead& head) {
    if (!position_.epoch) return true;
    if (head.epoch < *position_.epoch) {
        spdlog::debug("apply: {}: message of epoch {} dropped, this replica is at {}", topic_,
                      head.epoch, *position_.epoch);
        return false;
    }
    if (head.epoch > *position_.epoch) {
        if (head.epoch == forged_epoch_)
            throw Refused("it claims epoch " + std::to_string(head.epoch) +
                          ", which the primary does not know");
        throw NeedCopy("a new epoch began (" + std::to_string(head.epoch) + " after " +
                           std::to_string(*position_.epoch) + ")",
                       {}, next_, 0, head.epoch);
    }
    if (!position_.source.empty() && position_.source != head.source && position_.sequence)
        throw Halt("messages come from " + head.source + ", but this replica follows " +
                   position_.source +
                   ". Two relays with one exchange? Stop the wrong one; to follow "
                   "the other: DELETE FROM cqrs.position WHERE topic = '" +
                   topic_ + "'.");
    return true;
}

// The stream has not been met since a copy, which holds all of the message. It may come from before
// the gap that was healed: meeting it would lead into that gap again.
bool Session::in_copy(const MessageHead& head) const {
    return !position_.sequence && !position_.fresh() && head.lsn <= position_.lsn;
}

// The first message after a copy that says more than it, or ever.
void Session::meet(const MessageHead& head) {
    if (position_.fresh()) {
        // Handlers alone begin with what comes. Else, as nothing could be copied, only a stream
        // that is here from its first event will do.
        const bool anywhere = subscriptions_.empty() && !handlers_.pending();
        if (!anywhere && (head.sequence != 1 || head.previous_lsn != 0))
            throw Halt("the stream began before this replica did (first message: event " +
                       std::to_string(head.sequence) +
                       "). Set DATABASE_URL, without "
                       "--no-auto-resync: the applier then copies the tables first.");
        begin_position(*replica_, topic_, head.source, head.epoch, head.sequence - 1);
    } else {
        if (head.previous_lsn > position_.lsn)
            throw NeedCopy("events between the copy at " + postgres::format_lsn(position_.lsn) +
                               " and event " + std::to_string(head.sequence) + " are missing",
                           {}, 0, head.sequence - 1, head.epoch);
        if (!anchor_position(*replica_, topic_, head.source, head.epoch, head.sequence - 1))
            throw Restart("the position was changed by somebody else");
    }
    position_ = load_position(*replica_, topic_);
    next_ = *position_.sequence + 1;
}

void Session::check_sequence(const MessageHead& head) {
    if (head.sequence > next_) {
        context_.metrics
            .counter("cqrs_apply_gaps_total", "Times that events were missing", {{"topic", topic_}})
            .Increment();
        throw NeedCopy("events " + std::to_string(next_) + " to " +
                           std::to_string(head.sequence - 1) + " are missing",
                       {}, next_, head.sequence - 1, head.epoch);
    }
    if (head.sequence == next_ && head.lsn <= position_.lsn && head.lsn > copy_lsn_ && !spooling_ &&
        pending_.empty())
        throw NeedCopy("event " + std::to_string(head.sequence) + " ends at " +
                           postgres::format_lsn(head.lsn) + ", which this replica is beyond (" +
                           postgres::format_lsn(position_.lsn) + "): the histories differ",
                       {}, next_, head.sequence, head.epoch);
}

// What comes again was committed no later than what is applied. Otherwise the numbers were given
// twice: the primary was put back to an earlier state, with its relay_state, and went on.
void Session::check_duplicate(const MessageHead& head) {
    if (spooling_ || !pending_.empty() || head.lsn <= position_.lsn) return;
    throw NeedCopy("event " + std::to_string(head.last()) + " was applied, and comes again as of " +
                       postgres::format_lsn(head.lsn) + ", which is later than " +
                       postgres::format_lsn(position_.lsn) + ": the histories differ",
                   {}, head.sequence, *position_.sequence, head.epoch);
}

void Session::take(std::unique_ptr<Message> message) {
    Message& m = *message;
    queue_was_gone_ = false;  // nothing was lost with it
    const std::int64_t skipped = next_ - m.head.sequence;
    if (spooling_) {
        unacked_.push_back({m.tag, m.head.last()});
        next_ = m.head.last() + 1;
        bytes_ += m.body.size();
        messages_.push_back(std::move(message));
        return;
    }
    decoder_->decode(m, next_);
    if (m.events.empty()) throw Refused("it has no events");
    if (m.events.front().lsn < last_lsn_) throw Refused("its LSNs go backwards");
    if (skipped > 0)
        context_.metrics
            .counter("cqrs_apply_duplicates_total", "Events that had been applied already",
                     {{"topic", topic_}})
            .Increment(static_cast<double>(skipped));
    for (const Event& e : m.events) {
        if (last_lsn_ != 0 && e.lsn != last_lsn_) complete_ = pending_.size();
        last_lsn_ = e.lsn;
        pending_.push_back(&e);
    }
    if (!m.head.more) complete_ = pending_.size();
    next_ = m.head.last() + 1;
    bytes_ += m.bytes();
    more_until_ = m.body.size() < large_message ? std::chrono::steady_clock::time_point{}
                                                : std::chrono::steady_clock::now() + more_is_near;
    unacked_.push_back({m.tag, m.head.last()});
    messages_.push_back(std::move(message));
}

void Session::acknowledge() {
    const std::int64_t safe = flushes_.waiting()
                                  ? flushes_.safe()
                                  : position_.received.value_or(position_.sequence.value_or(0));
    std::uint64_t tag = 0;
    // Without a position nothing is pending: everything here was dropped or refused.
    while (!unacked_.empty() && (!position_.sequence || unacked_.front().until <= safe)) {
        tag = unacked_.front().tag;
        unacked_.pop_front();
    }
    if (tag) broker_->ack(tag, true);
}

// See check_duplicate(); on a quiet topic the heartbeat shows it.
bool Session::rewound(const Heartbeat& heartbeat) const {
    return !spooling_ && pending_.empty() && heartbeat.lsn >= position_.lsn &&
           heartbeat.topic(topic_).sequence < *position_.sequence;
}

// One heartbeat more names events that do not come. True: they are missing. While the primary is
// busy heartbeats follow each other quickly: their number alone would say little.
bool Session::suspect() {
    const auto now = std::chrono::steady_clock::now();
    if (suspicious_++ == 0) suspicious_since_ = now;
    return suspicious_ >= suspicion && now - suspicious_since_ >= suspicion_time;
}

// A purged queue tells nobody; a quiet topic has nothing to compare with. The heartbeat does.
void Session::watch_heartbeat() {
    const auto heartbeat = context_.heartbeats.last();
    if (!heartbeat || heartbeat->number == heartbeat_seen_) return;
    heartbeat_seen_ = heartbeat->number;
    if (heartbeat->epoch == forged_epoch_) return;
    const Heartbeat::Topic named = heartbeat->topic(topic_);
    const std::int64_t here = next_ - 1;
    if (position_.sequence && position_.epoch == heartbeat->epoch) {
        context_.metrics
            .gauge("cqrs_apply_lag_events", "Events of the topic that are not applied yet",
                   {{"topic", topic_}})
            .Set(static_cast<double>(
                std::max<std::int64_t>(0, named.sequence - *position_.sequence)));
        if (named.sequence <= *position_.sequence) set_lag(0);
    }
    if (position_.epoch && heartbeat->epoch < *position_.epoch) return;  // of a relay that is gone

    if (!position_.sequence) {
        if (position_.fresh()) {
            if (named.sequence == 0) {
                begin_position(*replica_, topic_, heartbeat->source, heartbeat->epoch);
                position_ = load_position(*replica_, topic_);
                next_ = 1;
            } else if (!(subscriptions_.empty() && !handlers_.pending()) && suspect()) {
                throw Halt("the stream has " + std::to_string(named.sequence) +
                           " events already and this replica has none. Set DATABASE_URL, without "
                           "--no-auto-resync: the applier then copies the tables first.");
            }
            return;
        }
        // A copy of an earlier epoch: what was committed before the new one began is in neither.
        if (position_.epoch && heartbeat->epoch > *position_.epoch)
            throw NeedCopy("a new epoch began (" + std::to_string(heartbeat->epoch) + " after " +
                               std::to_string(*position_.epoch) + ")",
                           {}, 0, 0, heartbeat->epoch);
        if (heartbeat->lsn < position_.lsn) return;
        if (named.lsn <= position_.lsn) {
            if (!anchor_position(*replica_, topic_, heartbeat->source, heartbeat->epoch,
                                 named.sequence))
                throw Restart("the position was changed by somebody else");
            position_ = load_position(*replica_, topic_);
            next_ = *position_.sequence + 1;
            return;
        }
    } else if (position_.epoch == heartbeat->epoch && rewound(*heartbeat)) {
        if (!suspect()) return;
        suspicious_ = 0;
        broker::QueueOptions look;
        look.passive = true;
        if (broker_->declare_queue(queue_, look).messages > 0) return;
        throw NeedCopy("the relay has read up to " + postgres::format_lsn(heartbeat->lsn) +
                           " and knows " + std::to_string(named.sequence) +
                           " events, fewer than are applied as of " +
                           postgres::format_lsn(position_.lsn) + ": the histories differ",
                       {}, named.sequence + 1, *position_.sequence, heartbeat->epoch);
    } else if (position_.epoch == heartbeat->epoch && named.sequence <= here) {
        suspicious_ = 0;
        return;
    }
    if (!suspect()) return;
    suspicious_ = 0;
    broker::QueueOptions look;
    look.passive = true;
    if (broker_->declare_queue(queue_, look).messages > 0) return;
    context_.metrics
        .counter("cqrs_apply_gaps_total", "Times that events were missing", {{"topic", topic_}})
        .Increment();
    if (position_.epoch && heartbeat->epoch > *position_.epoch && position_.sequence)
        throw NeedCopy("a new epoch began (" + std::to_string(heartbeat->epoch) + " after " +
                           std::to_string(*position_.epoch) + ")",
                       {}, next_, 0, heartbeat->epoch);
    throw NeedCopy("queue " + queue_ + " is empty, but the relay has sent events up to " +
                       std::to_string(named.sequence),
                   {}, next_, named.sequence, heartbeat->epoch);
}

}  // namespace cqrs::apply
