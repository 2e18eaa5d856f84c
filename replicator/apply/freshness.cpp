#include "apply/freshness.hpp"

#include "apply/replica.hpp"

namespace cqrs::apply {

namespace {

// No topic may have this name.
const std::string as_topic = "heartbeat";

// The heartbeat before stays beside the new one if its sequence was reached: the new one may name
// an event that is not applied yet, and what was known is known on. Only of the epoch that the
// topic's worker has made sure of.
const std::string record_sql =
    "INSERT INTO cqrs.heartbeat AS h "
    "(topic, epoch, sequence, lsn, at, earlier_sequence, earlier_lsn, earlier_at) "
    "SELECT p.topic, $1::bigint, coalesce(n.sequence, 0), $2::pg_lsn, $3::timestamptz, "
    "CASE WHEN p.sequence >= o.sequence THEN o.sequence ELSE o.earlier_sequence END, "
    "CASE WHEN p.sequence >= o.sequence THEN o.lsn ELSE o.earlier_lsn END, "
    "CASE WHEN p.sequence >= o.sequence THEN o.at ELSE o.earlier_at END "
    "FROM cqrs.position p "
    "LEFT JOIN unnest($4::text[], $5::bigint[]) AS n(topic, sequence) ON n.topic = p.topic "
    "LEFT JOIN cqrs.heartbeat o ON o.topic = p.topic AND o.epoch = p.epoch "
    "WHERE p.epoch = $1 "
    "ON CONFLICT (topic) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence, "
    "lsn = excluded.lsn, at = greatest(excluded.at, excluded.earlier_at), "
    "earlier_sequence = excluded.earlier_sequence, earlier_lsn = excluded.earlier_lsn, "
    "earlier_at = excluded.earlier_at "
    "WHERE h.epoch <> excluded.epoch OR h.lsn <= excluded.lsn";

void append(std::string& array, const std::string& element) {
    array += array.empty() ? "{\"" : ",\"";
    array += element;  // a topic's name or a number: nothing to escape
    array += '"';
}

}  // namespace

// Written under a replication origin: where the replica is a primary too, its own relay passes it
// over. An origin has one session at a time, so the lock comes first.
bool Freshness::own(postgres::Connection& connection) {
    if (owner_ == connection.backend_pid()) return true;
    if (!try_lock_topic(connection, as_topic)) return false;
    try {
        set_origin(connection, as_topic);
    } catch (const postgres::Error& e) {
        // The session of an applier that was killed has not quite ended: with the next one.
        if (e.sqlstate() != "55006") throw;
        return false;
    }
    // A heartbeat that is lost in a crash is followed by others.
    connection.exec("SET synchronous_commit = off");
    connection.prepare("heartbeat", record_sql);
    owner_ = connection.backend_pid();
    return true;
}

void Freshness::record(postgres::Connection& connection, const Heartbeat& heartbeat) {
    if (heartbeat.number == seen_ || !own(connection)) return;
    std::string topics, sequences;
    for (const auto& [name, topic] : heartbeat.topics) {
        append(topics, name);
        append(sequences, std::to_string(topic.sequence));
    }
    if (topics.empty()) topics = sequences = "{";
    topics += '}';
    sequences += '}';
    const std::string epoch = std::to_string(heartbeat.epoch),
                      lsn = postgres::format_lsn(heartbeat.lsn);
    connection.execute("heartbeat", {epoch, lsn, heartbeat.time, topics, sequences});
    seen_ = heartbeat.number;
}

}  // namespace cqrs::apply
