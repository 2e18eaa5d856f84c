#include "apply/position.hpp"

#include <algorithm>

#include "apply/handlers.hpp"
#include "apply/writer_sql.hpp"

namespace cqrs::apply {

using postgres::Connection;
using postgres::format_lsn;
using postgres::Param;
using postgres::parse_lsn;

namespace {
std::string text(std::int64_t n) {
    return std::to_string(n);
}
}  // namespace

Position load_position(Connection& connection, const std::string& topic) {
    Position p;
    const auto row = connection.query(
        "SELECT source, epoch, sequence, lsn, received, state FROM cqrs.position WHERE topic = $1",
        {topic});
    if (row.rows() == 0) return p;
    p.exists = true;
    p.source = row.get(0, 0);
    if (!row.is_null(0, 1)) p.epoch = row.get_int(0, 1);
    if (!row.is_null(0, 2)) p.sequence = row.get_int(0, 2);
    p.lsn = parse_lsn(row.get(0, 3));
    if (!row.is_null(0, 4)) p.received = row.get_int(0, 4);
    p.state = row.get(0, 5);
    return p;
}

std::vector<Subscription> load_subscriptions(Connection& connection, const std::string& topic) {
    // Left over from prefixes that were unsubscribed: a later subscription copies anew.
    connection.query(
        "DELETE FROM cqrs.subscription_state ss WHERE split_part(ss.prefix, '.', 1) = $1 "
        "AND NOT EXISTS (SELECT FROM cqrs.subscription s WHERE s.prefix = ss.prefix)",
        {topic});
    const auto rows = connection.query(
        "SELECT s.prefix, s.relation::oid, s.notify, "
        "ss.prefix IS NULL OR ss.state <> 'live' OR ss.relation <> s.relation, "
        "coalesce(ss.snapshot_lsn, '0/0'), s.schema, s.on_error = 'park' "
        "FROM cqrs.subscription s LEFT JOIN cqrs.subscription_state ss ON ss.prefix = s.prefix "
        "WHERE s.topic = $1 ORDER BY s.prefix",
        {topic});
    std::vector<Subscription> out;
    for (int i = 0; i < rows.rows(); ++i) {
        Subscription s;
        s.prefix = rows.get(i, 0);
        s.relation = static_cast<std::uint32_t>(rows.get_int(i, 1));
        s.notify = rows.get_bool(i, 2);
        s.needs_copy = rows.get_bool(i, 3);
        s.snapshot_lsn = parse_lsn(rows.get(i, 4));
        s.schema = rows.get(i, 5);
        s.park = rows.get_bool(i, 6);
        out.push_back(std::move(s));
    }
    return out;
}

void prepare_advance(Connection& connection) {
    const auto advance_where = [](const std::string& received, const std::string& handlers) {
        return "UPDATE cqrs.position SET sequence = $4, lsn = greatest(lsn, $5::pg_lsn), "
               "committed_at = $6, applied_at = clock_timestamp(), received = " +
               received +
               ", state = 'live', error = NULL "
               "WHERE topic = $1 AND epoch = $2 AND sequence = $3 AND " +
               handlers +
               " AND NOT EXISTS (SELECT FROM cqrs.fence f WHERE f.topic = $1 AND "
               "f.lsn < $5::pg_lsn AND f.expires_at > clock_timestamp())";
    };
    connection.prepare("cqrs_advance", advance_where("CASE WHEN $7 THEN received END",
                                                     "$8 = " + std::string(handlers_version_sql)));
    // Every small batch pays for it: what no such batch needs is left out.
    connection.prepare("cqrs_advance_surely",
                       sql::surely(advance_where(
                           "NULL", "NOT EXISTS (SELECT FROM cqrs.handler WHERE topic = $1)")));
}

postgres::Step advance_surely(const std::string& topic, const Position& from, const Boundary& to) {
    const auto time = to.time.empty() ? std::nullopt : std::optional(to.time);
    return {"cqrs_advance_surely",
            {topic, text(*from.epoch), text(*from.sequence), text(to.sequence), format_lsn(to.lsn),
             time}};
}

namespace {
std::string advance_sql(const std::string& topic, const Position& from, const Boundary& to,
                        bool keep_received, const std::string& handlers) {
    return "EXECUTE cqrs_advance(" + postgres::quote_literal(topic) + ", " + text(*from.epoch) +
           ", " + text(*from.sequence) + ", " + text(to.sequence) + ", '" + format_lsn(to.lsn) +
           "', " + (to.time.empty() ? "NULL" : postgres::quote_literal(to.time)) + ", " +
           (keep_received ? "true, " : "false, ") + postgres::quote_literal(handlers) + ")";
}
}  // namespace

bool advance(Connection& connection, const std::string& topic, const Position& from,
             const Boundary& to, bool keep_received, const std::string& handlers) {
    return connection.exec(advance_sql(topic, from, to, keep_received, handlers)).affected() == 1;
}

namespace {
std::string begin_sql(bool lazy) {
    return lazy ? "BEGIN; SET LOCAL synchronous_commit = off; " : "BEGIN; ";
}
}  // namespace

void begin(Connection& connection, bool lazy) {
    connection.exec(begin_sql(lazy));
}

// One round trip: it is paid by every commit of a quiet primary.
bool begin_advance(Connection& connection, const std::string& topic, const Position& from,
                   const Boundary& to, bool keep_received, const std::string& handlers, bool lazy) {
    return connection.exec(begin_sql(lazy) + advance_sql(topic, from, to, keep_received, handlers))
               .affected() == 1;
}

bool anchor_position(Connection& connection, const std::string& topic, const std::string& source,
                     std::int64_t epoch, std::int64_t sequence) {
    return connection
               .query(
                   "UPDATE cqrs.position SET source = $2, epoch = $3, sequence = $4, "
                   "state = 'live', error = NULL WHERE topic = $1 AND sequence IS NULL",
                   {topic, source, text(epoch), text(sequence)})
               .affected() == 1;
}

void begin_position(Connection& connection, const std::string& topic, const std::string& source,
                    std::int64_t epoch, std::int64_t sequence) {
    connection.exec("BEGIN");
    connection.query(
        "INSERT INTO cqrs.position (topic, source, epoch, sequence, lsn) VALUES ($1, $2, $3, $4, "
        "'0/0') ON CONFLICT (topic) DO UPDATE SET source = EXCLUDED.source, epoch = "
        "EXCLUDED.epoch, "
        "sequence = EXCLUDED.sequence, lsn = '0/0', received = NULL, state = 'live', error = NULL",
        {topic, source, text(epoch), text(sequence)});
    begin_prefixes(connection, topic);
    connection.commit();
}

void begin_prefixes(Connection& connection, const std::string& topic) {
    connection.query(
        "INSERT INTO cqrs.subscription_state (prefix, relation, state) "
        "SELECT prefix, relation, 'live' FROM cqrs.subscription WHERE topic = $1 "
        "ON CONFLICT (prefix) DO UPDATE SET relation = EXCLUDED.relation, state = 'live', "
        "snapshot_lsn = NULL, changed_at = now()",
        {topic});
    begin_handlers(connection, topic);
}

void copied_position(Connection& connection, const std::string& topic, std::uint64_t point,
                     bool whole, std::int64_t epoch) {
    const std::string lsn = format_lsn(point);
    if (whole) connection.query("DELETE FROM cqrs.spool WHERE topic = $1", {topic});
    connection.query(
        std::string("INSERT INTO cqrs.position (topic, epoch, lsn, applied_at) "
                    "VALUES ($1, $2, $3, clock_timestamp()) ON CONFLICT (topic) DO UPDATE SET ") +
            (whole ? "source = NULL, epoch = EXCLUDED.epoch, sequence = NULL, lsn = EXCLUDED.lsn, "
                     "committed_at = NULL, received = NULL, applied_at = EXCLUDED.applied_at, "
                   : "") +
            "state = 'live', error = NULL",
        {topic, epoch ? Param(text(epoch)) : Param(), lsn});
}

void copied_prefix(Connection& connection, const Subscription& s, std::uint64_t point) {
    // The copy holds what they would have come to.
    connection.query("DELETE FROM cqrs.parked WHERE prefix = $1", {s.prefix});
    connection.query(
        "INSERT INTO cqrs.subscription_state (prefix, relation, state, snapshot_lsn) "
        "VALUES ($1, $2::oid::regclass, 'live', $3) ON CONFLICT (prefix) DO UPDATE SET "
        "relation = EXCLUDED.relation, state = 'live', snapshot_lsn = EXCLUDED.snapshot_lsn, "
        "changed_at = now()",
        {s.prefix, std::to_string(s.relation), format_lsn(point)});
}

bool received_position(Connection& connection, const std::string& topic, const Position& from,
                       std::int64_t received) {
    return connection
               .query(
                   "UPDATE cqrs.position SET received = $4 WHERE topic = $1 AND epoch = $2 "
                   "AND sequence = $3",
                   {topic, text(*from.epoch), text(*from.sequence), text(received)})
               .affected() == 1;
}

void stop_position(Connection& connection, const std::string& topic, const std::string& error) {
    const auto say = [&](const std::string& text) {
        connection.query(
            "INSERT INTO cqrs.position (topic, lsn, state, error) VALUES ($1, '0/0', 'stopped', "
            "$2) ON CONFLICT (topic) DO UPDATE SET state = 'stopped', error = EXCLUDED.error",
            {topic, text});
    };
    try {
        say(error);
    } catch (const postgres::Error& e) {
        if (e.sqlstate() != "22P05") throw;
        // The database's encoding lacks a character of the key or of a name: the log has it.
        std::string ascii = error;
        std::replace_if(
            ascii.begin(), ascii.end(), [](char c) { return (c & 0x80) != 0; }, '?');
        say(ascii);
    }
}

std::string record_incident(Connection& connection, const std::string& topic,
                            const std::string& what, std::int64_t from, std::int64_t to) {
    const std::string first = text(from), last = text(to);
    connection.query(
        "INSERT INTO cqrs.incidents (topic, what, from_sequence, to_sequence) "
        "SELECT $1::text, $2::text, $3::bigint, $4::bigint "
        "WHERE NOT EXISTS (SELECT FROM cqrs.incidents i WHERE i.topic = $1::text "
        "AND i.from_sequence IS NOT DISTINCT FROM $3::bigint AND i.healed_at IS NULL)",
        {topic, what, from ? Param(first) : Param(), to ? Param(last) : Param()});
    const auto open = connection.query(
        "SELECT what FROM cqrs.incidents WHERE topic = $1 AND healed_at IS NULL "
        "AND from_sequence IS NOT DISTINCT FROM $2::bigint ORDER BY id LIMIT 1",
        {topic, from ? Param(first) : Param()});
    return open.rows() ? std::string(open.get(0, 0)) : what;
}

void heal_incidents(Connection& connection, const std::string& topic, const std::string& how) {
    connection.query(
        "UPDATE cqrs.incidents SET healed_at = clock_timestamp(), healed_how = $2 "
        "WHERE topic = $1 AND healed_at IS NULL",
        {topic, how});
}

void forget_topic(Connection& connection, const std::string& topic) {
    connection.exec("BEGIN");
    connection.query("DELETE FROM cqrs.position WHERE topic = $1", {topic});
    connection.query("DELETE FROM cqrs.heartbeat WHERE topic = $1", {topic});
    connection.query("DELETE FROM cqrs.spool WHERE topic = $1", {topic});
    connection.query("DELETE FROM cqrs.parked WHERE topic = $1", {topic});
    connection.query(
        "DELETE FROM cqrs.subscription_state ss WHERE split_part(ss.prefix, '.', 1) = $1 "
        "AND NOT EXISTS (SELECT FROM cqrs.subscription s WHERE s.prefix = ss.prefix)",
        {topic});
    connection.commit();
}

}  // namespace cqrs::apply
