// Source: which topics are to be kept (cqrs.retain()), told to the publisher; what came of it,
// written down for cqrs.retention_status.
#include <spdlog/spdlog.h>

#include "relay/source.hpp"

namespace cqrs::relay {

namespace {

// Everybody may read the view: a role that knows nothing of histories goes on as it did.
constexpr const char* read_sql =
    "SELECT topic, extract(epoch FROM max_age)::bigint, max_bytes, state = 'forgetting' FROM "
    "cqrs.retention_status";
constexpr const char* may_write_sql =
    "SELECT bool_and(has_table_privilege('cqrs.retention_state', p)) FROM "
    "unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p";
constexpr const char* write_sql =
    "INSERT INTO cqrs.retention_state AS s (topic, state, since_sequence, error) VALUES ($1, $2, "
    "nullif($3, '')::bigint, nullif($4, '')) ON CONFLICT (topic) DO UPDATE SET state = "
    "EXCLUDED.state, since_sequence = coalesce(EXCLUDED.since_sequence, s.since_sequence), error = "
    "EXCLUDED.error, changed_at = clock_timestamp()";
constexpr const char* forgotten_sql =
    "DELETE FROM cqrs.retention_state WHERE topic = $1 AND EXISTS (SELECT FROM "
    "cqrs.retention_status s WHERE s.topic = $1 AND s.state = 'forgetting')";

}  // namespace

void Source::load_retention(postgres::Connection& sql) {
    take_retention(sql.exec(read_sql));
    may_tell_histories_ = sql.exec(may_write_sql).get_bool(0, 0);
    if (!may_tell_histories_ && !retention_.topics.empty())
        spdlog::warn(
            "relay: its role may not write cqrs.retention_state: cqrs.retention_status does not "
            "show what is kept; README, \"Rights\"");
}

// True: it is not what it was.
bool Source::take_retention(const postgres::Result& status) {
    Retention now;
    for (int i = 0; i < status.rows(); ++i) {
        Retention::Topic topic;
        if (!status.is_null(i, 1)) topic.max_age_s = status.get_int(i, 1);
        if (!status.is_null(i, 2)) topic.max_bytes = status.get_int(i, 2);
        topic.forget = status.get_bool(i, 3);
        now.topics.emplace(status.get(i, 0), topic);
    }
    if (now == retention_) return false;
    retention_ = std::move(now);
    return true;
}

// Messages handed over after it hold events from `next` on.
void Source::push_retention() {
    Retention wanted = retention_;
    for (auto& [topic, kept] : wanted.topics) kept.next = batcher_->sequence(topic) + 1;
    handoff_.push(std::move(wanted));
}

// Once a heartbeat.
void Source::look_at_retention(Statements& statements) {
    for (const HistoryState& state : handoff_.history_states()) {
        if (!may_tell_histories_) continue;
        if (state.kind == HistoryState::Kind::forgotten)
            statements.run(forgotten_sql, {state.topic});
        else
            statements.run(write_sql,
                           {state.topic, state.kind == HistoryState::Kind::kept ? "kept" : "failed",
                            state.since ? std::to_string(*state.since) : "", state.error});
    }
    statements.run(read_sql, {}, [this](const postgres::Result& status) {
        if (take_retention(status)) push_retention();
    });
}

}  // namespace cqrs::relay
