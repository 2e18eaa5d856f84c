// Session: transactions that are too large to hold. They wait in cqrs.spool, acknowledged, and are
// applied in one transaction when their end is here, message by message.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apply/notify.hpp"
#include "apply/session.hpp"
#include "apply/spool.hpp"

namespace cqrs::apply {

using postgres::Error;
using postgres::Remedy;

namespace {
// A row was refused that may be parked.
struct TryAside {};
}  // namespace

// After every message: is what waits too much, or is there more for the spool?
void Session::spool_more() {
    if (messages_.empty()) return;
    const auto window = static_cast<std::size_t>(context_.settings.prefetch);
    if (!spooling_) {
        const bool full = bytes_ > context_.settings.memory || unacked_.size() * 4 >= window * 3;
        if (!full) return;
        if (complete_ > 0) apply_complete();
        settle();
        // Freed enough, unless one transaction alone is that large.
        if (messages_.empty() ||
            (bytes_ <= context_.settings.memory && unacked_.size() * 4 < window * 3))
            return;
        spdlog::info("apply: {}: a transaction is too large for memory: it waits in cqrs.spool",
                     topic_);
        context_.metrics
            .counter("cqrs_apply_spooled_total", "Transactions that were too large for memory",
                     {{"topic", topic_}})
            .Increment();
        spool_pending();
        return;
    }
    const MessageHead& last = messages_.back()->head;
    const bool ended = !last.more || last.lsn != spool_lsn_;
    // Before the window is full of what is not acknowledged: then nothing would be delivered any
    // more.
    if (ended || messages_.size() >= 64 || unacked_.size() * 4 >= window * 3 ||
        bytes_ > context_.settings.memory / 4)
        spool_pending();
    if (ended) apply_spool();
}

void Session::spool_pending() {
    const std::int64_t received = messages_.back()->head.last();
    spool_lsn_ = messages_.back()->head.lsn;
    const bool early = early_ || may_write_early();
    postgres::Connection& spool = early ? *spool_connection_ : *replica_;
    spool.exec("BEGIN");
    if (!received_position(spool, topic_, position_, received))
        throw Restart("the position was changed by somebody else");
    for (const auto& m : messages_) spool_message(spool, topic_, *m);
    spool.commit();
    flushes_.all_flushed();
    position_.received = received;
    spooling_ = true;
    if (early) write_early();
    pending_.clear();
    messages_.clear();
    complete_ = bytes_ = 0;
    last_lsn_ = 0;
    acknowledge();
}

// Where the last complete transaction in the spool ends.
Boundary Session::spool_boundary() {
    const auto last = last_spooled(*replica_, topic_);
    if (!last) throw Restart("cqrs.spool is empty");
    Message message;
    if (fence_ && last->lsn > *fence_) return spool_boundary_at_fence();
    if (!read_spooled(*replica_, topic_, last->sequence - 1, message))
        throw Restart("cqrs.spool was changed by somebody else");
    decoder_->decode(message, message.head.sequence);
    auto end = message.events.end();
    if (last->more)
        while (end != message.events.begin() && std::prev(end)->lsn == message.events.back().lsn)
            --end;
    if (end == message.events.begin()) return {};
    --end;
    return {end->sequence, end->lsn, std::string(end->time)};
}

// The last event in the spool that ends at or before the fence.
Boundary Session::spool_boundary_at_fence() {
    Boundary to;
    Message message;
    for (std::int64_t after = 0; read_spooled(*replica_, topic_, after, message);
         after = message.head.sequence) {
        decoder_->decode(message, message.head.sequence);
        for (const Event& e : message.events) {
            if (e.lsn > *fence_) return to;
            to = {e.sequence, e.lsn, std::string(e.time)};
        }
    }
    return to;
}

void Session::apply_spool() {
    try {
        const Boundary to = spool_boundary();
        if (fence_ && to.sequence <= *position_.sequence) return hold();
        if (to.sequence <= *position_.sequence) return;
        using enum Writer::Mode;
        bool aside = false;
        for (const auto mode : {set_wise, replace, one_by_one}) {
            try {
                if (!early_) prepare_spool(mode);
                write_spool(to, mode, false);
                break;
            } catch (const TryAside&) {
                aside = true;
            } catch (const TryNext& e) {
                if (mode == one_by_one) throw Halt(e.what());
            } catch (const Error& e) {
                if (e.remedy() != Remedy::stop || mode == one_by_one) throw;
            }
            replica_->exec("ROLLBACK");
            writer_->end_transaction();
            early_.reset();
        }
        if (aside) {
            prepare_spool(replace);
            write_spool(to, replace, true);
        }
    } catch (const Refused& e) {
        throw NeedCopy(std::string("a message in cqrs.spool cannot be read: ") + e.what(), {},
                       *position_.sequence + 1, *position_.received);
    }
    early_.reset();
    position_ = load_position(*replica_, topic_);
    spooling_ = position_.received.has_value();
    healthy_(true);
}

// What is made outside the transaction.
void Session::prepare_spool(Writer::Mode mode) {
    std::vector<Event> any(tables_.size());
    std::vector<const Event*> touch;
    for (std::size_t i = 0; i < tables_.size(); ++i) {
        any[i].table = &tables_[i];
        any[i].verb = Verb::update;
        touch.push_back(&any[i]);
    }
    writer_->prepare(touch, mode);
    if (!parked_.empty()) parked_.load(*replica_, tables_);
}

// Events that say more than rows.
void Session::notice_orders(const Event& e) {
    if (e.table && e.verb == Verb::resync)
        throw NeedCopy("event " + std::string(e.id) + " (" + std::string(e.type) +
                           "): " + std::string(e.detail),
                       {e.table->prefix});
    if (e.table && e.verb == Verb::stop)
        throw Halt("event " + std::string(e.id) + " (" + std::string(e.type) +
                   "): the primary could not say what changed: " + std::string(e.detail) +
                   ". To copy the table anew: UPDATE cqrs.subscription_state SET state = "
                   "'pending' WHERE prefix = '" +
                   e.table->prefix + "'.");
    if (handlers_.order(e)) {
        const std::string what = "event " + std::string(e.id) + " (" + std::string(e.type) + ")";
        replica_->exec("ROLLBACK");
        backfill_again(std::string(e.prefix), what);
    }
}

void Session::write_spool(const Boundary& to, Writer::Mode mode, bool aside) {
    const bool rest = *position_.received > to.sequence;
    parked_.begin();
    const auto check = [](bool advanced) {
        if (!advanced) throw Restart("the position, the handlers or a fence were changed");
    };
    // What is written early could not hold the position's row: it would keep the spool waiting.
    if (!early_)
        check(begin_advance(*replica_, topic_, position_, to, rest, handlers_.version(), false));
    std::vector<std::unique_ptr<Message>> held;
    std::vector<const Event*> events;
    std::size_t bytes = 0, count = early_ ? early_->count : 0, transactions = early_ ? 1 : 0;
    std::uint64_t lsn = early_ ? early_->lsn : 0;
    const auto write = [&] {
        try {
            if (aside)
                write_aside(events);
            else if (parked_.empty())
                writer_->write(events, mode);
            else
                writer_->write(not_parked(events), mode);
            store_parked();
            handlers_.call(*replica_, events, aside || mode == Writer::Mode::one_by_one);
            notify_events(*replica_, events);
        } catch (const WriteError& e) {
            if (mode != Writer::Mode::one_by_one && e.cause.sqlstate() == "23505")
                throw TryNext(e.what());
            if (!aside && may_park(e)) throw TryAside();
            replica_->exec("ROLLBACK");
            if (follows(e)) throw SchemaDiffers(explain(e), e.event->table->prefix);
            throw Halt(explain(e));
        }
        held.clear();
        events.clear();
        bytes = 0;
    };
    std::int64_t next = early_ ? early_->next : *position_.sequence + 1;
    std::int64_t after = early_ ? early_->after : 0;
    while (next <= to.sequence) {
        if (control_.stop.requested()) throw Restart("stopping");
        auto message = std::make_unique<Message>();
        if (!read_spooled(*replica_, topic_, after, *message))
            throw Restart("cqrs.spool was changed by somebody else");
        after = message->head.sequence;
        decoder_->decode(*message, next);
        for (const Event& e : message->events) {
            if (e.sequence > to.sequence) break;
            notice_orders(e);
            transactions += e.lsn != lsn;
            lsn = e.lsn;
            ++count;
            events.push_back(&e);
        }
        next = std::max(next, message->head.last() + 1);
        bytes += message->bytes();
        held.push_back(std::move(message));
        if (events.size() >= context_.settings.apply_batch || bytes > context_.settings.memory / 2)
            write();
    }
    write();
    if (early_) check(advance(*replica_, topic_, position_, to, rest, handlers_.version()));
    drop_spooled(*replica_, topic_, to.sequence);
    replica_->commit();
    flushes_.all_flushed();
    parked_.committed();
    count_conflicts(writer_->end_transaction());
    applied(to, count, transactions);
}

}  // namespace cqrs::apply
