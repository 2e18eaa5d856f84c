#include "admin/status.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "admin/status_report.hpp"
#include "broker/connection.hpp"
#include "broker/names.hpp"
#include "broker/probe.hpp"
#include "postgres/connection.hpp"

namespace cqrs {
namespace {

constexpr auto patience = std::chrono::seconds(5);
constexpr int not_found = 404;

std::optional<std::int64_t> int_or_null(const postgres::Result& result, int row, int column) {
    if (result.is_null(row, column)) return std::nullopt;
    return result.get_int(row, column);
}
std::string text(const postgres::Result& result, int row, int column) {
    return std::string(result.get(row, column));
}

postgres::Connection open(const std::string& url) {
    auto connection = postgres::Connection::open(url, "cqrs-replicator status", false, patience);
    connection.exec("SET statement_timeout = '5s'");
    return connection;
}

std::string where(const postgres::Connection& connection) {
    const char* host = PQhost(connection.raw());
    return fmt::format("{}:{}/{}", host != nullptr ? host : "", PQport(connection.raw()),
                       PQdb(connection.raw()));
}

std::string explain(const postgres::Error& e) {
    if (e.sqlstate() == "3F000" || e.sqlstate() == "42P01") {
        return std::string(e.what()) + " (CREATE EXTENSION pg_cqrs is missing in this database)";
    }
    return e.what();
}

void read_slot(postgres::Connection& connection, PrimaryStatus& primary) {
    const auto result = connection.query(
        "SELECT active, coalesce(confirmed_flush_lsn::text, ''), coalesce(wal_status, ''),"
        " pg_wal_lsn_diff(w.lsn, restart_lsn)::bigint,"
        " pg_wal_lsn_diff(w.lsn, confirmed_flush_lsn)::bigint"
        " FROM pg_catalog.pg_replication_slots,"
        " (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
        "  ELSE pg_current_wal_lsn() END AS lsn) w"
        " WHERE slot_name = $1",
        {primary.slot_name});
    if (result.rows() == 0) return;
    primary.slot =
        PrimaryStatus::Slot{result.get_bool(0, 0), text(result, 0, 1), text(result, 0, 2),
                            int_or_null(result, 0, 3), int_or_null(result, 0, 4)};
}

void read_relay(postgres::Connection& connection, StatusReport& report) {
    const postgres::Param slot = report.primary.slot_name;
    const auto state = connection.query(
        "SELECT epoch, lsn, (extract(epoch FROM clock_timestamp() - updated_at) * 1000)::bigint"
        " FROM cqrs.relay_state WHERE slot = $1",
        {slot});
    if (state.rows() == 0) return;
    report.primary.relay = PrimaryStatus::Relay{state.get_int(0, 0), text(state, 0, 1),
                                                static_cast<double>(state.get_int(0, 2)) / 1000};
    const auto topics = connection.query(
        "SELECT t.key, (t.value->>'sequence')::bigint, coalesce(t.value->>'lsn', ''),"
        " (t.value->>'time')::bigint"
        " FROM cqrs.relay_state, jsonb_each(topics) t WHERE slot = $1",
        {slot});
    for (int i = 0; i < topics.rows(); ++i) {
        report.topics[text(topics, i, 0)].relayed = TopicStatus::Relayed{
            topics.get_int(i, 1), text(topics, i, 2), int_or_null(topics, i, 3)};
    }
}

void read_replicas(postgres::Connection& connection, StatusReport& report) {
    // A role that sees the rest need not see this.
    if (!connection
             .exec("SELECT coalesce(has_table_privilege(to_regclass('cqrs.replica_status'), "
                   "'SELECT'), false)")
             .get_bool(0, 0))
        return;
    const auto result = connection.exec(
        "SELECT name, topic, state, sequence, lag_events, (extract(epoch FROM lag) * "
        "1000)::bigint, queue_messages, (extract(epoch FROM clock_timestamp() - seen_at) * "
        "1000)::bigint FROM cqrs.replica_status ORDER BY name, topic");
    for (int i = 0; i < result.rows(); ++i) {
        KnownReplica r{text(result, i, 0),
                       text(result, i, 1),
                       text(result, i, 2),
                       int_or_null(result, i, 3),
                       int_or_null(result, i, 4),
                       int_or_null(result, i, 6),
                       {},
                       0};
        if (const auto lag = int_or_null(result, i, 5)) r.lag_seconds = double(*lag) / 1000;
        r.seen = double(result.get_int(i, 7)) / 1000;
        report.replicas.push_back(std::move(r));
    }
}

void read_histories(postgres::Connection& connection, StatusReport& report) {
    const auto result = connection.exec(
        "SELECT topic, state, coalesce(error, ''), since_sequence FROM cqrs.retention_status "
        "ORDER BY topic");
    for (int i = 0; i < result.rows(); ++i)
        report.histories.push_back({text(result, i, 0), text(result, i, 1), text(result, i, 2),
                                    int_or_null(result, i, 3)});
}

void read_primary(const Settings& settings, StatusReport& report) {
    auto& primary = report.primary;
    primary.slot_name = settings.slot;
    primary.asked = !settings.database_url.empty();
    if (!primary.asked) return;
    try {
        auto connection = open(settings.database_url);
        primary.where = where(connection);
        read_slot(connection, primary);
        read_relay(connection, report);
        read_replicas(connection, report);
        read_histories(connection, report);
    } catch (const postgres::Error& e) {
        primary.error = explain(e);
    }
}

void read_positions(postgres::Connection& connection, StatusReport& report) {
    const auto result = connection.exec(
        "SELECT topic, epoch, sequence, (extract(epoch FROM committed_at) * 1000000)::bigint, lsn,"
        " state, coalesce(error, '') FROM cqrs.position");
    for (int i = 0; i < result.rows(); ++i) {
        report.topics[text(result, i, 0)].applied = TopicStatus::Applied{
            int_or_null(result, i, 1), int_or_null(result, i, 2), int_or_null(result, i, 3),
            text(result, i, 4),        text(result, i, 5),        text(result, i, 6)};
    }
}

void read_subscriptions(postgres::Connection& connection, StatusReport& report) {
    const auto result = connection.exec(
        "SELECT topic, prefix, relation::text, state, coalesce(error, '')"
        " FROM cqrs.subscription_status ORDER BY prefix");
    for (int i = 0; i < result.rows(); ++i) {
        report.topics[text(result, i, 0)].prefixes.push_back(
            {text(result, i, 1), text(result, i, 2), text(result, i, 3), text(result, i, 4)});
    }
}

void read_replica(const Settings& settings, StatusReport& report) {
    auto& replica = report.replica;
    replica.expected_name = settings.replica;
    replica.asked = !settings.replica_database_url.empty();
    if (!replica.asked) return;
    try {
        auto connection = open(settings.replica_database_url);
        replica.where = where(connection);
        const auto result = connection.exec(
            "SELECT (SELECT name FROM cqrs.replica_identity),"
            " (SELECT count(*) FROM cqrs.incidents WHERE healed_at IS NULL)");
        if (!result.is_null(0, 0)) replica.name = text(result, 0, 0);
        replica.open_incidents = result.get_int(0, 1);
        read_positions(connection, report);
        read_subscriptions(connection, report);
    } catch (const postgres::Error& e) {
        replica.error = explain(e);
    }
}

// The queues of the topics that the other sides named.
void read_broker(const Settings& settings, StatusReport& report) {
    auto& broker = report.broker;
    broker.asked = !settings.broker_url.empty();
    if (!broker.asked) return;
    try {
        auto connection = broker::Connection::open(settings.broker_url, settings.broker_cacert,
                                                   "cqrs-replicator status", patience);
        broker.where = connection.host();
        broker::QueueOptions passive;
        passive.passive = true;
        for (auto& [name, topic] : report.topics) {
            topic.queue = TopicStatus::Queue{};
            try {
                const auto info =
                    connection.declare_queue(broker::queue_name(settings.replica, name), passive);
                topic.queue = TopicStatus::Queue{true, info.messages, info.consumers};
            } catch (const broker::Error& e) {
                if (e.code() != not_found) throw;
            }
        }
        const auto probe = broker::probe_publishing(connection, patience);
        broker.alarm = probe.reason;
        if (probe.answer == broker::Probe::Answer::none)
            broker.error =
                "a publish was not confirmed within " + std::to_string(patience.count()) + " s";
    } catch (const broker::Error& e) {
        broker.error = e.what();
    }
}

}  // namespace

int run_status(const Settings& settings) {
    StatusReport report;
    read_primary(settings, report);
    read_replica(settings, report);
    read_broker(settings, report);
    fmt::print("{}", settings.json ? to_json(report) : to_text(report));
    return report.problems().empty() ? 0 : 1;
}

}  // namespace cqrs
