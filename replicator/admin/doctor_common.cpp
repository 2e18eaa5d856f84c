// What the checks of primary and replica share.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "admin/doctor_checks.hpp"

namespace cqrs {

std::string joined(const std::vector<std::string>& words, const char* separator) {
    return fmt::format("{}", fmt::join(words, separator));
}

std::string setting_of(postgres::Connection& connection, const std::string& name) {
    // Through the view: current_setting() raises an error for what a role may not see.
    const auto result = connection.query(
        "SELECT current_setting(name) FROM pg_settings WHERE name = $1", {std::string_view(name)});
    return result.rows() == 0 ? std::string() : std::string(result.get(0, 0));
}

std::string grant(postgres::Connection& connection, const std::string& rights,
                  const std::string& object) {
    const auto role = connection.exec("SELECT quote_ident(current_user)");
    return fmt::format("GRANT {} ON {} TO {};", rights, object, role.get(0, 0));
}

std::optional<postgres::Connection> check_connection(const std::string& url, const char* setting,
                                                     Findings& findings) {
    try {
        auto connection = postgres::Connection::open(url, "cqrs-replicator doctor", false,
                                                     std::chrono::seconds(5));
        connection.exec("SET statement_timeout = '10s'");
        const auto who = connection.exec("SELECT current_user, current_database()");
        findings.ok(fmt::format("connected to {}:{} as {}, database {}", PQhost(connection.raw()),
                                PQport(connection.raw()), who.get(0, 0), who.get(0, 1)));
        // A pooler gives out process ids of its own.
        if (connection.exec("SELECT pg_backend_pid()").get_int(0, 0) != connection.backend_pid())
            findings.warn("a connection pooler answers, not Postgres itself",
                          fmt::format("{}: Postgres itself for the relay and for copies; for the "
                                      "applier a pool in session mode will do",
                                      setting));
        return connection;
    } catch (const postgres::Error& e) {
        findings.fail(fmt::format("cannot connect: {}", e.what()),
                      fmt::format("Check {} with psql, pg_hba.conf, the server's log", setting));
        return std::nullopt;
    }
}

void check_version(const postgres::Connection& connection, Findings& findings) {
    const int major = connection.server_version() / 10000;
    if (major < 15) {
        findings.fail(fmt::format("Postgres {}", major), "Use Postgres 15, 16, 17 or 18");
    } else if (major > 18) {
        findings.warn(fmt::format("Postgres {} is newer than what was tested (15 to 18)", major),
                      "");
    } else {
        findings.ok(
            fmt::format("Postgres {}", PQparameterStatus(connection.raw(), "server_version")));
    }
}

bool check_extension(postgres::Connection& connection, Findings& findings) {
    const auto result = connection.exec(
        "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'pg_cqrs'),"
        " (SELECT default_version FROM pg_available_extensions WHERE name = 'pg_cqrs')");
    if (result.is_null(0, 0)) {
        findings.fail("the extension pg_cqrs is not in this database",
                      result.is_null(0, 1)
                          ? "Its files are not on the server: make && make install there, then\n"
                            "CREATE EXTENSION pg_cqrs;"
                          : "CREATE EXTENSION pg_cqrs;");
        return false;
    }
    const std::string installed(result.get(0, 0));
    if (!result.is_null(0, 1) && result.get(0, 1) != installed) {
        findings.warn(
            fmt::format("extension pg_cqrs {}, {} is on the server", installed, result.get(0, 1)),
            "ALTER EXTENSION pg_cqrs UPDATE;");
    } else {
        findings.ok(fmt::format("extension pg_cqrs {}", installed));
    }
    const auto usable = connection.exec("SELECT has_schema_privilege('cqrs', 'USAGE')");
    if (usable.get_bool(0, 0)) return true;
    findings.fail("no right to use the schema cqrs", grant(connection, "USAGE", "SCHEMA cqrs"));
    return false;
}

std::string database_identity(postgres::Connection& connection) {
    const auto result = connection.exec(
        "SELECT current_database(),"
        " CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')"
        "  THEN (SELECT system_identifier::text FROM pg_control_system()) END");
    if (result.is_null(0, 1)) return {};
    return fmt::format("{}/{}", result.get(0, 1), result.get(0, 0));
}

std::vector<std::string> missing_rights(postgres::Connection& connection,
                                        const std::string& relation,
                                        const std::vector<std::string>& wanted) {
    std::vector<std::string> missing;
    for (const auto& right : wanted) {
        const auto result =
            connection.query("SELECT has_table_privilege($1::regclass, $2)", {relation, right});
        if (!result.get_bool(0, 0)) missing.push_back(right);
    }
    return missing;
}

Discovered::Columns columns_of(postgres::Connection& connection, const std::string& relation) {
    const auto result = connection.query(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
        {std::string_view(relation)});
    Discovered::Columns columns;
    for (int i = 0; i < result.rows(); ++i) {
        columns.emplace(result.get(i, 0), result.get(i, 1));
    }
    return columns;
}

}  // namespace cqrs
