// Session: what happens to a batch in which the server refuses a row of a subscription that parks.
#include <spdlog/spdlog.h>

#include "apply/session.hpp"

namespace cqrs::apply {

using postgres::Error;
using postgres::Remedy;

bool Session::may_park(const WriteError& e) {
    return e.handler.empty() && !follows(e) && !park_key(*e.event, e.event->row).empty();
}

std::vector<const Event*> Session::not_parked(std::span<const Event* const> events) {
    std::vector<const Event*> rest;
    rest.reserve(events.size());
    for (const Event* e : events)
        if (!parked_.takes(*e)) rest.push_back(e);
    return rest;
}

// Transaction by transaction of the primary, and where one fails event by event: slow, and sure to
// find every event that the server refuses. Throws WriteError for one that may not be parked.
void Session::write_aside(std::span<const Event* const> events) {
    const auto attempt = [&](std::span<const Event* const> some, Writer::Mode mode) {
        replica_->exec("SAVEPOINT aside");
        try {
            writer_->write(some, mode);
        } catch (const WriteError&) {
            replica_->exec("ROLLBACK TO SAVEPOINT aside");
            throw;
        } catch (const TryNext& e) {
            if (mode == Writer::Mode::one_by_one) throw Halt(e.what());
            replica_->exec("ROLLBACK TO SAVEPOINT aside");
            throw;
        } catch (const Error& e) {
            if (e.remedy() != Remedy::stop) throw;
            replica_->exec("ROLLBACK TO SAVEPOINT aside");
            throw TryNext(e.what());
        }
        replica_->exec("RELEASE SAVEPOINT aside");
    };
    for (std::size_t at = 0; at < events.size();) {
        std::size_t end = at;
        while (end < events.size() && events[end]->lsn == events[at]->lsn) ++end;
        const auto rest = not_parked(events.subspan(at, end - at));
        at = end;
        try {
            attempt(rest, Writer::Mode::replace);
            continue;
        } catch (const WriteError&) {
        } catch (const TryNext&) {
        }
        for (const Event*& e : std::vector<const Event*>(rest)) {
            if (!e->table || parked_.takes(*e)) continue;
            try {
                attempt({&e, 1}, Writer::Mode::one_by_one);
            } catch (const WriteError& error) {
                if (!may_park(error) || !parked_.park(error)) throw;
                spdlog::error("apply: {}: parked, with what follows of its key: {}", topic_,
                              describe(error));
            }
        }
    }
}

void Session::store_parked() {
    const std::size_t refused = parked_.store(*replica_, topic_, *position_.epoch);
    if (refused == 0) return;
    context_.metrics
        .counter("cqrs_apply_parked_total", "Events that the server refused and cqrs.parked keeps",
                 {{"topic", topic_}})
        .Increment(static_cast<double>(refused));
}

// What cqrs.retry_parked() asked for: key by key, its events in order, in one transaction; with
// those of the keys that changes of key tie to it.
void Session::retry_parked() {
    for (const Table& table : tables_) {
        if (!table.park) continue;
        const auto keys = replica_->query(
            "SELECT key FROM cqrs.parked WHERE prefix = $1 AND retry GROUP BY key ORDER BY "
            "min(epoch), min(sequence)",
            {table.prefix});
        for (int i = 0; i < keys.rows() && !control_.stop.requested(); ++i) {
            const auto tied = replica_->query(
                "WITH RECURSIVE tied(key) AS (SELECT $2::jsonb UNION SELECT k FROM tied JOIN "
                "cqrs.parked AS p ON p.prefix = $1 AND (p.key = tied.key OR p.old_key = tied.key) "
                "CROSS JOIN unnest(ARRAY[p.key, p.old_key]) AS k WHERE k IS NOT NULL) "
                "SELECT array_agg(DISTINCT key), json_agg(event ORDER BY epoch, sequence), "
                "count(*) FROM cqrs.parked WHERE prefix = $1 AND key IN (SELECT key FROM tied) "
                "HAVING bool_or(retry)",
                {table.prefix, keys.get(i, 0)});
            if (tied.rows() == 0) continue;  // went along with an earlier one
            Message message;
            message.body = tied.get(0, 1);
            message.head.sequence = 1;
            message.head.count = tied.get_int(0, 2);
            retry_keys(table, tied.get(0, 0), message);
        }
    }
}

// keys: a jsonb[].
void Session::retry_keys(const Table& table, std::string_view keys, Message& message) {
    std::string sqlstate, reason;
    try {
        decoder_->decode(message, 1);
        std::vector<const Event*> events;
        for (const Event& e : message.events)
            if (e.table) events.push_back(&e);  // what a later copy holds is done
        replica_->exec("BEGIN");
        for (const Event* e : events) writer_->write({&e, 1}, Writer::Mode::one_by_one);
        replica_->query("DELETE FROM cqrs.parked WHERE prefix = $1 AND key = ANY ($2::jsonb[])",
                        {table.prefix, keys});
        replica_->commit();
        count_conflicts(writer_->end_transaction());
        spdlog::info("apply: {}: applied {} parked events of {} {}", topic_, events.size(),
                     table.prefix, keys);
        return;
    } catch (const WriteError& e) {
        sqlstate = e.cause.sqlstate();
        reason = describe(e);
    } catch (const TryNext& e) {
        reason = e.what();
    } catch (const Halt& e) {
        reason = e.what();
    } catch (const NeedCopy& e) {  // for rows that wait: not at the cost of all that do not
        reason = e.what();
    } catch (const Refused& e) {
        reason = e.what();
    }
    if (replica_->in_transaction()) replica_->exec("ROLLBACK");
    writer_->end_transaction();
    spdlog::error("apply: {}: still parked: {}", topic_, reason);
    replica_->query(
        "UPDATE cqrs.parked SET retry = false, attempts = attempts + (sqlstate IS NOT NULL)::int, "
        "last_at = clock_timestamp(), message = CASE WHEN sqlstate IS NULL THEN message ELSE $3 "
        "END, sqlstate = CASE WHEN sqlstate IS NOT NULL THEN coalesce($4, sqlstate) END "
        "WHERE prefix = $1 AND key = ANY ($2::jsonb[])",
        {table.prefix, keys, reason, sqlstate.empty() ? postgres::Param() : sqlstate});
}

}  // namespace cqrs::apply
