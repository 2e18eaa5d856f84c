#include "apply/replica.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <atomic>

namespace cqrs::apply {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

namespace {

// Values are read back under the settings that they were printed with: the plugin pins the same,
// and Connection::open the others of them.
constexpr const char* settings_sql =
    "SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET xmloption = 'content'; "
    "SET row_security = off; SET jit = off; "
    // Staged rows find their target by its key, however the estimates are.
    "SET enable_hashjoin = off; SET enable_mergejoin = off; "
    // Where a commit does not wait for the disk is said commit by commit.
    "SELECT pg_catalog.set_config('synchronous_commit', 'on', false) "
    "WHERE pg_catalog.current_setting('synchronous_commit') = 'off'";

}  // namespace

Connection open_replica(const std::string& url, const std::string& topic, const Stop* stop) {
    Connection connection =
        Connection::open(url, "cqrs apply " + topic, false, std::chrono::seconds(10), stop);
    connection.exec(settings_sql);
    try {
        connection.exec("SET session_replication_role = replica");
    } catch (const Error& e) {
        if (e.sqlstate() != "42501") throw;
        const auto role = connection.exec("SELECT quote_ident(current_user)");
        throw Error(
            Remedy::stop, e.sqlstate(), e.what(), "",
            "As a superuser of the replica: GRANT SET ON PARAMETER session_replication_role "
            "TO " +
                std::string(role.get(0, 0)) + ";");
    }
    return connection;
}

bool try_lock_topic(Connection& connection, const std::string& topic) {
    return connection
        .query("SELECT pg_try_advisory_lock(hashtext('pg_cqrs apply'), hashtext($1))", {topic})
        .get_bool(0, 0);
}

std::string origin_name(Connection& connection, const std::string& topic) {
    const auto database =
        connection.exec("SELECT oid FROM pg_database WHERE datname = current_database()");
    return fmt::format("cqrs_{}_{}", database.get(0, 0), topic);
}

bool drop_origin(Connection& connection, const std::string& topic) {
    const std::string name = origin_name(connection, topic);
    try {
        connection.query(
            "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin "
            "WHERE roname = $1 OR starts_with(roname, $1 || '.')",
            {name});
    } catch (const Error& e) {
        if (!connection.ok()) throw;
        if (e.sqlstate() == "55006") return false;
        spdlog::warn("replication origin {} stays: {}", name, e.what());
    }
    return true;
}

namespace {

void take_origin(Connection& connection, const std::string& name) {
    if (connection.query("SELECT pg_replication_origin_oid($1)", {name}).is_null(0, 0))
        connection.query("SELECT pg_replication_origin_create($1)", {name});
    connection.query("SELECT pg_replication_origin_session_setup($1)", {name});
}

// Whoever has one in use keeps it.
void drop_idle_lane_origins(Connection& connection) {
    const auto names = connection.exec(
        fmt::format("SELECT roname FROM pg_replication_origin WHERE {}", is_lane_origin));
    for (int i = 0; i < names.rows(); ++i) {
        try {
            connection.query("SELECT pg_replication_origin_drop($1)", {names.get(i, 0)});
        } catch (const Error& e) {
            if (!connection.ok()) throw;
            spdlog::debug("replication origin {} stays: {}", names.get(i, 0), e.what());
        }
    }
}

}  // namespace

void take_lane_origin(Connection& connection, const std::string& topic, std::size_t number) {
    const std::string name = origin_name(connection, topic) + "." + std::to_string(number);
    // Since 18 they have a setting of their own.
    const auto spare = connection.query(
        "SELECT count(*) < coalesce(current_setting('max_active_replication_origins', true), "
        "current_setting('max_replication_slots'))::int / 2 OR bool_or(roname = $1) "
        "FROM pg_replication_origin",
        {name});
    if (!spare.get_bool(0, 0))
        throw Error(Remedy::retry, "53400", "half of the server's replication origins are taken");
    take_origin(connection, name);
}

void set_origin(Connection& connection, const std::string& topic) {
    static std::atomic<bool> said{false};
    const std::string name = origin_name(connection, topic);
    try {
        try {
            take_origin(connection, name);
        } catch (const Error& e) {
            if (e.sqlstate() != "53400") throw;
            drop_idle_lane_origins(connection);
            take_origin(connection, name);
        }
    } catch (const Error& e) {
        // 55006: the session of an applier that was killed has not ended yet.
        if (!connection.ok() || e.sqlstate() == "55006") throw;
        if (!said.exchange(true))
            spdlog::warn(
                "apply: what is written here carries no replication origin ({}): a relay that "
                "reads "
                "this replica would send it on. Grant EXECUTE on pg_replication_origin_oid, "
                "_create "
                "and _session_setup, and keep max_replication_slots above the number of topics.",
                e.what());
    }
}

}  // namespace cqrs::apply
