#include "apply/session.hpp"

#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apply/backfill.hpp"
#include "apply/notify.hpp"
#include "apply/replica.hpp"
#include "apply/snapshot.hpp"
#include "broker/names.hpp"
#include "broker/replica_queue.hpp"

namespace cqrs::apply {

Session::Session(Context& context, Control& control, const std::string& topic,
                 broker::Silence& silence, std::function<void(bool)> healthy)
    : context_(context),
      control_(control),
      topic_(topic),
      queue_(broker::queue_name(context.settings.replica, topic)),
      silence_(silence),
      healthy_(std::move(healthy)) {}

Session::~Session() {
    control_.set_broker(nullptr);
    control_.forget_postgres();
}

bool Session::lock() {
    bool said = false;
    std::chrono::milliseconds pause(10);
    while (!control_.stop.requested() && !control_.woken()) {
        if (try_lock_topic(*replica_, topic_)) {
            if (said) spdlog::info("apply: {}: this applier takes over", topic_);
            context_.health.note("apply." + topic_, "active");
            return true;
        }
        // Our own session before this one ends asynchronously: its lock outlives it for a moment.
        if (pause < std::chrono::seconds(1)) {
            control_.wait(pause);
            pause *= 2;
            continue;
        }
        if (!said) {
            spdlog::info("apply: {}: another applier holds the topic on this replica; standing by",
                         topic_);
            context_.health.note("apply." + topic_, "standby");
            healthy_(false);
        }
        said = true;
        control_.wait(std::chrono::seconds(1));
    }
    return false;
}

void Session::load() {
    position_ = load_position(*replica_, topic_);
    subscriptions_ = load_subscriptions(*replica_, topic_);
    decoder_.reset();
    tables_.clear();
    copy_lsn_ = 0;
    for (const Subscription& s : subscriptions_) {
        Table table = load_table(*replica_, s.relation, s.prefix);
        table.notify = s.notify;
        table.follow = s.schema == "follow";
        table.ignore_unknown = s.schema == "ignore";
        table.park = s.park;
        table.snapshot_lsn = s.snapshot_lsn;
        copy_lsn_ = std::max(copy_lsn_, s.snapshot_lsn);
        tables_.push_back(std::move(table));
    }
    handlers_.load(*replica_, topic_, !position_.fresh());
    decoder_.emplace(tables_, &handlers_);
    writer_.emplace(*replica_);
    load_fence();
    parked_.load(*replica_, tables_);
    messages_.clear();
    pending_.clear();
    unacked_.clear();
    prepare_advance(*replica_);
    prepare_notify(*replica_);
    lazy_commits_ = replica_->exec("SHOW synchronous_standby_names").get(0, 0).empty();
    flushes_ = {};
    flushes_.committed(position_.received.value_or(position_.sequence.value_or(0)),
                       replica_->wal_end());
    bytes_ = complete_ = 0;
    last_lsn_ = 0;
    suspicious_ = 0;
    spooling_ = position_.received.has_value();
    next_ = (spooling_ ? *position_.received : position_.sequence.value_or(0)) + 1;
    spool_lsn_ = 0;
    early_.reset();
    spool_connection_.reset();
    if (const auto spooled = spooling_ ? last_spooled(*replica_, topic_) : std::nullopt)
        spool_lsn_ = spooled->lsn;
}

void Session::open_connection() {
    control_.set_broker(nullptr);
    broker_.emplace(
        broker::Connection::open(context_.settings.broker_url, context_.settings.broker_cacert,
                                 "cqrs apply " + context_.settings.replica + " " + topic_));
    control_.set_broker(&*broker_);
}

void Session::open_broker() {
    open_connection();
    broker_->declare_exchanges();
    find_queue();
    broker::bind_replica_queue(*broker_, queue_, topic_);
}

// A queue that was deleted took events along: a gap will show it, this gives it its name.
void Session::find_queue() {
    if (broker::look_at_queue(*broker_, queue_)) return;
    silence_.declared();
    if (position_.fresh()) return;
    spdlog::warn("apply: {}: queue {} is gone: declared anew", topic_, queue_);
    queue_was_gone_ = true;
}

void Session::start_consuming() {
    try {
        broker_->consume(queue_, context_.settings.prefetch);
    } catch (const broker::NoAnswer&) {
        if (!silence_.for_good()) throw;
        give_up_queue();
        broker_->consume(queue_, context_.settings.prefetch);
    }
    silence_.answered();
}

// What was in it is lost; a gap will show what that was.
void Session::give_up_queue() {
    const std::string silent = "queue " + queue_ +
                               " is declared and does not answer: the broker lost its log, or most "
                               "of its members";
    if (!context_.settings.auto_resync)
        throw Halt(silent + ". If that does not mend itself: rabbitmqctl delete_queue " + queue_ +
                   ". It is then declared anew, and what was in it is missing.");
    spdlog::warn("apply: {}: {}. It is deleted and declared anew", topic_, silent);
    open_connection();
    broker_->delete_queue(queue_);
    broker::bind_replica_queue(*broker_, queue_, topic_);  // at once: what is published needs it
    silence_.declared();
    queue_was_gone_ = true;
}

void Session::close_broker() {
    control_.set_broker(nullptr);
    broker_.reset();  // what was not acknowledged returns to the queue, in order
}

bool Session::needs_copy() const {
    return position_.fresh() || std::any_of(subscriptions_.begin(), subscriptions_.end(),
                                            [](const Subscription& s) { return s.needs_copy; });
}

// The queue is bound: what is committed after the copy's point comes through it.
void Session::copy(const NeedCopy& need, bool initial) {
    const Settings& settings = context_.settings;
    const std::string what =
        (queue_was_gone_ ? "queue " + queue_ + " was deleted: " : "") + need.what();
    if (!initial && (!settings.auto_resync || settings.database_url.empty())) {
        throw Halt(record_incident(*replica_, topic_, what, need.from, need.to) + ". " +
                   (settings.database_url.empty()
                        ? "Set DATABASE_URL: the applier then copies the tables anew by itself."
                        : "Start the applier without --no-auto-resync: it then copies the tables "
                          "anew by itself."));
    }
    if (!initial)
        spdlog::warn("apply: {}: {}: copying {} anew", topic_, need.what(),
                     need.prefixes.empty() ? "all its tables"
                                           : fmt::format("{}", fmt::join(need.prefixes, ", ")));
    const bool whole = position_.fresh() || need.prefixes.empty();
    std::vector<CopyTarget> targets;
    std::vector<const Subscription*> copied;
    for (const Subscription& s : subscriptions_) {
        const bool asked =
            need.prefixes.empty() ||
            std::find(need.prefixes.begin(), need.prefixes.end(), s.prefix) != need.prefixes.end();
        if (!asked && !whole) continue;
        for (const Table& t : tables_)
            if (t.prefix == s.prefix)
                targets.push_back({s.prefix, t.name, t.rows(), t.ignore_unknown});
        copied.push_back(&s);
    }
    for (const Subscription* s : copied)
        if (s->schema == "follow") follow(s->prefix);
    replica_->exec("BEGIN");
    const CopyReport report =
        copy_snapshot(settings.database_url, *replica_, targets, {settings.slot, need.epoch},
                      context_.progress, control_.stop);
    for (const Subscription* s : copied) copied_prefix(*replica_, *s, report.point);
    copied_position(*replica_, topic_, report.point, whole, report.epoch);
    if (whole) handlers_missed(*replica_, topic_, need.what());
    for (const std::string& prefix : need.prefixes)
        handlers_backfill_again(*replica_, topic_, prefix);
    if (!initial) {
        const bool other = position_.epoch && report.epoch > *position_.epoch;
        record_incident(
            *replica_, topic_,
            what + (other && !report.epoch_reason.empty() ? ": " + report.epoch_reason : ""),
            need.from, need.to);
    }
    // The first copy of one table more heals nothing of the others.
    if (whole || !initial)
        heal_incidents(*replica_, topic_, "copied as of " + postgres::format_lsn(report.point));
    replica_->commit();
    queue_was_gone_ = false;
    for (const std::string& prefix : report.not_published)
        spdlog::warn(
            "apply: {}: \"{}\" is not published on the primary: nothing was copied, its events "
            "will "
            "be applied when it is",
            topic_, prefix);
    if (!initial)
        context_.metrics
            .counter("cqrs_apply_resyncs_total", "Copies that healed a topic", {{"topic", topic_}})
            .Increment();
}

void Session::heal(const NeedCopy& need) {
    try {
        copy(need, false);
    } catch (const UnknownEpoch& e) {
        doubt(e);
    }
}

// Messages of an epoch that the primary has never had: whoever sends them, it is not its relay.
void Session::doubt(const UnknownEpoch& e) {
    const auto heartbeat = context_.heartbeats.last();
    if (!heartbeat)
        throw postgres::Error(postgres::Remedy::retry, "",
                              std::string("waiting for a heartbeat of the relay: ") + e.what());
    if (heartbeat->epoch == e.epoch)
        throw Halt(std::string("messages and heartbeats come from ") + heartbeat->source +
                   ", but " + e.what() +
                   ". Does DATABASE_URL still name the primary, and --slot the relay's slot?");
    forged_epoch_ = e.epoch;  // the relay itself is at another one: refused by name when it returns
}

// The session of this topic before ours may not have ended yet: the lock is free a moment before
// the origin is.
void Session::take_origin() {
    for (std::chrono::milliseconds pause(10);; pause *= 2) {
        try {
            return set_origin(*replica_, topic_);
        } catch (const postgres::Error& e) {
            if (e.sqlstate() != "55006" || pause > std::chrono::seconds(2) ||
                control_.stop.requested())
                throw;
        }
        control_.wait(pause);
    }
}

// What waits for it, unless the topic is at its beginning or is copied first.
bool Session::needs_backfill() {
    if (position_.fresh() || !handlers_.pending()) return false;
    const Settings& settings = context_.settings;
    if (!settings.database_url.empty() && settings.auto_resync) return true;
    if (position_.sequence != 0)
        throw Halt(
            "a handler waits for its backfill from the primary. Set DATABASE_URL, without "
            "--no-auto-resync.");
    begin_handlers(*replica_, topic_);
    handlers_.load(*replica_, topic_, true);
    return false;
}

void Session::backfill() {
    backfill_handlers(context_.settings.database_url, *replica_, topic_, handlers_, control_.stop);
}

void Session::backfill_again(const std::string& prefix, const std::string& why) {
    handlers_backfill_again(*replica_, topic_, prefix);
    throw Restart(why + ": rows of \"" + prefix +
                  "\" changed without events; handlers are given them anew");
}

void Session::run() {
    Backoff copies;
    while (!control_.stop.requested() && !control_.woken()) {
        // Anew after every copy: it pins other settings on the connection.
        control_.forget_postgres();
        replica_.emplace(open_replica(context_.settings.replica_database_url, topic_));
        control_.add_postgres(*replica_);
        if (!lock()) return;
        take_origin();
        load();
        if (subscriptions_.empty() && handlers_.empty())
            return control_.wait(std::chrono::seconds(1));
        if (!parked_.empty()) retry_parked();
        open_broker();
        try {
            const bool can_copy =
                !context_.settings.database_url.empty() && context_.settings.auto_resync;
            if (needs_copy() && !can_copy && !position_.fresh()) {
                if (position_.sequence != 0)
                    throw Halt(
                        "a newly subscribed table has to be copied from the primary first. Set "
                        "DATABASE_URL, without --no-auto-resync.");
                begin_prefixes(*replica_, topic_);
            }
            if (needs_copy() && can_copy) {
                close_broker();
                std::vector<std::string> prefixes;
                for (const Subscription& s : subscriptions_)
                    if (s.needs_copy) prefixes.push_back(s.prefix);
                if (position_.fresh()) prefixes.clear();
                copy(NeedCopy("first copy", prefixes), true);
                continue;
            }
            if (needs_backfill()) {
                close_broker();
                backfill();
                continue;
            }
            consume();
            return;
        } catch (const SchemaDiffers& difference) {
            close_broker();
            if (replica_->in_transaction()) replica_->exec("ROLLBACK");
            adapt(difference);
            control_.wait(copies.next());
        } catch (const NeedCopy& need) {
            close_broker();
            if (replica_->in_transaction()) replica_->exec("ROLLBACK");
            heal(need);
            // A stream that keeps asking for copies must not copy without pause.
            control_.wait(copies.next());
        }
    }
}

}  // namespace cqrs::apply
