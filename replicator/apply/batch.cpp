// Session: whole transactions into the replica.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

#include "apply/notify.hpp"
#include "apply/session.hpp"

namespace cqrs::apply {

using postgres::Error;
using postgres::Remedy;

namespace {

// Below this many events statements one by one are faster than staging, and name what fails.
constexpr std::size_t few = 16;

std::array<Writer::Mode, 3> ladder(std::size_t events) {
    using enum Writer::Mode;
    if (events < few) return {one_by_one, replace, one_by_one};
    return {set_wise, replace, one_by_one};
}

// ", key (id)=(5)", as Postgres writes it.
std::string named_by(const Event& e) {
    const Key* key = e.row ? e.table->key_for(e.row) : nullptr;
    if (!key) return "";
    std::string names, values;
    for (const std::uint32_t c : key->columns) {
        if (!names.empty()) names += ", ", values += ", ";
        names += e.table->columns[c].name;
        values += e.row[c].text();
    }
    return ", key (" + names + ")=(" + values + ")";
}

}  // namespace

bool of_a_value(const Error& e) {
    return e.sqlstate().starts_with("22") || e.sqlstate().starts_with("23");
}

std::string describe(const WriteError& failed, const std::string& column) {
    const Event& e = *failed.event;
    const Error& error = failed.cause;
    std::string text = "event " + std::string(e.id) + " (" + std::string(e.type) + "): ";
    if (!failed.handler.empty())
        text += "handler " + failed.handler;
    else if (e.table)
        text += e.table->name + named_by(e);
    if (!error.column().empty() || !column.empty())
        text += ", column " + (column.empty() ? error.column() : column);
    if (!error.constraint().empty()) text += ", constraint " + error.constraint();
    text += ": " + error.sqlstate() + " " + error.what();
    if (!error.detail().empty()) text += " (" + error.detail() + ")";
    if (!failed.handler.empty() && !error.context().empty()) text += " [" + error.context() + "]";
    if (!error.hint().empty()) text += ". " + error.hint();
    return text;
}

// Outside a transaction.
std::string Session::explain(const WriteError& e) {
    const bool misfit =
        e.handler.empty() && e.event->table && of_a_value(e.cause) && e.cause.column().empty();
    return describe(e, misfit ? misfit_column(*e.event) : "");
}

bool follows(const WriteError& e) {
    return e.handler.empty() && e.event->table && e.event->table->follow &&
           (e.cause.sqlstate().starts_with("22") || e.cause.sqlstate() == "23502");
}

// The end of the last transaction before that of events[at]; sequence 0 if there is none.
Boundary Session::boundary_before(std::span<const Event* const> events, std::size_t at) const {
    const std::uint64_t lsn = events[at]->lsn;
    while (at > 0 && events[at - 1]->lsn == lsn) --at;
    if (at == 0) return {};
    const Event& last = *events[at - 1];
    return {last.sequence, last.lsn, std::string(last.time)};
}

void Session::apply_complete() {
    end_flights();
    const bool cut = cut_at_fence();
    if (complete_ > 0) apply_orders_and_rows();
    if (cut) hold();
}

void Session::apply_orders_and_rows() {
    const std::vector<const Event*> events(pending_.begin(),
                                           pending_.begin() + static_cast<long>(complete_));
    const auto until = [&](const Boundary& to) {
        return std::span(events).first(static_cast<std::size_t>(
            std::find_if(events.begin(), events.end(),
                         [&](const Event* e) { return e->sequence > to.sequence; }) -
            events.begin()));
    };
    const auto apply_until = [&](const Boundary& end) {
        // What came before the transaction of an event that fails is right, unless it fails too.
        std::string failure, misfit;
        for (Boundary to = end; to.sequence != 0;) {
            try {
                apply_events(until(to), to);
                break;
            } catch (const WriteError& e) {
                failure = explain(e);
                misfit = follows(e) ? e.event->table->prefix : "";
                const auto at = std::find(events.begin(), events.end(), e.event) - events.begin();
                to = boundary_before(events, static_cast<std::size_t>(at));
            }
        }
        if (!misfit.empty()) throw SchemaDiffers(failure, misfit);
        if (!failure.empty()) throw Halt(failure);
    };
    // Events that are orders to the applier, not rows.
    for (std::size_t i = 0; i < events.size(); ++i) {
        const Event& e = *events[i];
        const bool of_table = e.table && (e.verb == Verb::resync || e.verb == Verb::stop);
        if (!of_table && !handlers_.order(e)) continue;
        const std::string id(e.id), type(e.type), detail(e.detail);
        const std::string prefix(e.prefix);
        const Verb verb = e.verb;
        if (const Boundary before = boundary_before(events, i); before.sequence)
            apply_until(before);
        if (!of_table) backfill_again(prefix, "event " + id + " (" + type + ")");
        if (verb == Verb::resync)
            throw NeedCopy("event " + id + " (" + type + "): " + detail, {prefix});
        throw Halt("event " + id + " (" + type +
                   "): the primary could not say what changed: " + detail +
                   ". To copy the table anew: UPDATE cqrs.subscription_state SET state = "
                   "'pending' WHERE prefix = '" +
                   prefix + "'.");
    }
    if (events.empty()) return;
    const Event& last = *events.back();
    apply_until({last.sequence, last.lsn, std::string(last.time)});
}

void Session::apply_events(std::span<const Event* const> events, const Boundary& to) {
    write_batch(events, to);
    done(events);
}

// They are in the replica.
void Session::done(std::span<const Event* const> events) {
    std::size_t transactions = 0;
    std::uint64_t lsn = 0;
    for (const Event* e : events) {
        transactions += e->lsn != lsn;
        lsn = e->lsn;
    }
    const Boundary to{events.back()->sequence, events.back()->lsn,
                      std::string(events.back()->time)};
    applied(to, events.size(), transactions);
    release(to);
}

void Session::write_batch(std::span<const Event* const> events, const Boundary& to) {
    if (!parked_.empty()) parked_.load(*replica_, tables_);
    if (events.size() < few && write_at_once(events, to)) return;
    try {
        return write_ladder(events, to);
    } catch (const WriteError& e) {
        if (!may_park(e)) throw;
    }
    writer_->prepare(events, Writer::Mode::replace);
    parked_.begin();
    try {
        if (!begin_advance(*replica_, topic_, position_, to, false, handlers_.version(), false))
            throw Restart("the position, the handlers or a fence were changed");
        write_aside(events);
        store_parked();
        handlers_.call(*replica_, events, true);
        notify_events(*replica_, events);
        replica_->commit();
        flushes_.all_flushed();
    } catch (const WriteError&) {
        replica_->exec("ROLLBACK");
        writer_->end_transaction();
        throw;
    }
    parked_.committed();
    count_conflicts(writer_->end_transaction());
}

void Session::write_ladder(std::span<const Event* const> events, const Boundary& to) {
    const auto modes = ladder(events.size());
    std::optional<WriteError> first;
    std::string why;
    for (std::size_t step = 0; step < modes.size(); ++step) {
        const bool last = step + 1 == modes.size();
        try {
            parked_.begin();
            std::vector<const Event*> rest;
            if (!parked_.empty()) rest = not_parked(events);
            const auto rows = parked_.empty() ? events : std::span<const Event* const>(rest);
            writer_->prepare(rows, modes[step]);
            const bool lazily = lazy();
            if (!begin_advance(*replica_, topic_, position_, to, false, handlers_.version(),
                               lazily))
                throw Restart("the position, the handlers or a fence were changed");
            writer_->write(rows, modes[step]);
            store_parked();
            handlers_.call(*replica_, events, modes[step] == Writer::Mode::one_by_one);
            notify_events(*replica_, events);
            if (lazily) {
                flushes_.committed(to.sequence, replica_->commit_and_look());
                flush_looks_ = 0;
            } else {
                replica_->commit();
                flushes_.all_flushed();
            }
            parked_.committed();
            return count_conflicts(writer_->end_transaction());
        } catch (const TryNext& e) {
            if (last) throw Halt(why.empty() ? e.what() : why);
            spdlog::debug("apply: {}: {}", topic_, e.what());
        } catch (const WriteError& e) {
            // A unique value in the way may only be what another refusal left there.
            if (!first || (first->cause.sqlstate() == "23505" && e.cause.sqlstate() != "23505"))
                first.emplace(e);
            // Only a unique value that is in the way can fare better in another way.
            if (last || e.cause.sqlstate() != "23505") {
                replica_->exec("ROLLBACK");
                writer_->end_transaction();
                throw WriteError(*first);
            }
        } catch (const Error& e) {
            if (e.remedy() != Remedy::stop) throw;
            why = e.sqlstate() + " " + e.what();
            if (!e.context().empty()) why += " (" + e.context() + ")";
            if (!e.hint().empty()) why += ". " + e.hint();
            if (last) throw Halt(why);
            if (e.sqlstate() != "23505") step = modes.size() - 2;  // find the event
        }
        replica_->exec("ROLLBACK");
        writer_->end_transaction();
    }
}

void Session::release(const Boundary& to) {
    position_.sequence = to.sequence;
    position_.lsn = std::max(position_.lsn, to.lsn);
    std::size_t gone = 0;
    while (gone < pending_.size() && pending_[gone]->sequence <= to.sequence) ++gone;
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<long>(gone));
    complete_ = complete_ > gone ? complete_ - gone : 0;
    while (!messages_.empty() && messages_.front()->head.last() <= to.sequence) {
        bytes_ -= std::min(bytes_, messages_.front()->bytes());
        messages_.pop_front();
    }
    if (messages_.empty()) bytes_ = 0;
    acknowledge();
    healthy_(true);
}

void Session::count_conflicts(const Writer::Conflicts& conflicts) {
    static std::mutex mutex;
    static std::map<std::string, std::chrono::steady_clock::time_point> said;
    for (const auto& [kind, n] : conflicts) {
        if (n <= 0) continue;
        context_.metrics
            .counter("cqrs_apply_conflicts_total",
                     "Rows that were not as the stream says, put right",
                     {{"topic", topic_}, {"kind", kind}})
            .Increment(static_cast<double>(n));
        const std::lock_guard lock(mutex);
        const auto now = std::chrono::steady_clock::now();
        auto& last = said[kind];
        if (last != std::chrono::steady_clock::time_point{} && now - last < std::chrono::minutes(1))
            continue;
        last = now;
        spdlog::warn(
            "apply: {}: {} of {} rows: somebody else wrote to the replica's table? They are as on "
            "the primary now",
            topic_, kind, n);
    }
}

void Session::set_lag(double seconds) {
    context_.metrics
        .gauge("cqrs_apply_lag_seconds",
               "From commit on the primary to commit here, for the last event applied; 0 when none "
               "waits",
               {{"topic", topic_}})
        .Set(seconds);
}

void Session::applied(const Boundary& to, std::size_t events, std::size_t transactions) {
    const Metrics::Labels labels{{"topic", topic_}};
    auto& m = context_.metrics;
    m.counter("cqrs_apply_events_total", "Events applied", labels)
        .Increment(static_cast<double>(events));
    m.counter("cqrs_apply_transactions_total", "Transactions of the primary applied", labels)
        .Increment(static_cast<double>(transactions));
    m.gauge("cqrs_apply_position", "Sequence of the last event applied", labels)
        .Set(static_cast<double>(to.sequence));
    tm t{};
    double seconds = 0;
    if (std::sscanf(to.time.c_str(), "%d-%d-%dT%d:%d:%lf", &t.tm_year, &t.tm_mon, &t.tm_mday,
                    &t.tm_hour, &t.tm_min, &seconds) != 6)
        return;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    const double committed = static_cast<double>(timegm(&t)) + seconds;
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    set_lag(std::max(0.0, now.count() - committed));
}

}  // namespace cqrs::apply
