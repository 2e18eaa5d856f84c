#include <fmt/format.h>

#include "admin/doctor_checks.hpp"
#include "apply/replica.hpp"
#include "event.hpp"

namespace cqrs {
namespace {

void check_name(postgres::Connection& connection, const std::string& name, Findings& findings) {
    const auto result = connection.exec("SELECT name FROM cqrs.replica_identity");
    if (result.rows() == 0) {
        findings.warn("not registered as a replica yet: commands on it are not refused",
                      "cqrs-replicator apply registers it at its first start");
    } else if (result.get(0, 0) != name) {
        findings.fail(fmt::format("registered as {}, the setting says {}", result.get(0, 0), name),
                      fmt::format("--name {} (CQRS_NAME), or to rename it:\n"
                                  "SELECT cqrs.deregister_replica();",
                                  result.get(0, 0)));
    } else {
        findings.ok("registered as " + name);
    }
}

// False: what the other checks read is not readable.
bool check_apply_rights(postgres::Connection& connection, Findings& findings) {
    const auto set =
        connection.exec("SELECT has_parameter_privilege('session_replication_role', 'SET')");
    findings.check(set.get_bool(0, 0), "the role may set session_replication_role",
                   "the role may not set session_replication_role",
                   grant(connection, "SET", "PARAMETER session_replication_role"));
    std::vector<std::string> functions;
    for (const char* function :
         {"pg_replication_origin_create(text)", "pg_replication_origin_oid(text)",
          "pg_replication_origin_session_setup(text)", "pg_replication_origin_drop(text)"}) {
        const auto result = connection.query("SELECT has_function_privilege($1, 'EXECUTE')",
                                             {std::string_view(function)});
        if (!result.get_bool(0, 0)) functions.emplace_back(function);
    }
    findings.check(functions.empty(), "the role may use replication origins",
                   "the role may not use replication origins",
                   grant(connection, "EXECUTE", "FUNCTION " + joined(functions)));
    const auto registers =
        connection.exec("SELECT has_function_privilege('cqrs.register_replica(text)', 'EXECUTE')");
    if (!registers.get_bool(0, 0)) {
        findings.fail("the role may not register the replica",
                      grant(connection, "EXECUTE", "FUNCTION cqrs.register_replica(text)"));
    }
    bool readable = true;
    for (const char* table : {"cqrs.subscription", "cqrs.handler", "cqrs.replica_identity"}) {
        if (missing_rights(connection, table, {"SELECT"}).empty()) continue;
        findings.fail(fmt::format("the role may not read {}", table),
                      grant(connection, "SELECT", table));
        readable = false;
    }
    for (const char* table :
         {"cqrs.position", "cqrs.heartbeat", "cqrs.subscription_state", "cqrs.handler_state",
          "cqrs.fence", "cqrs.spool", "cqrs.parked", "cqrs.incidents", "cqrs.copy_progress"}) {
        const auto missing =
            missing_rights(connection, table, {"SELECT", "INSERT", "UPDATE", "DELETE"});
        if (missing.empty()) continue;
        findings.fail(fmt::format("the role lacks {} on {}", joined(missing), table),
                      grant(connection, joined(missing), table));
        if (missing.front() == "SELECT") readable = false;
    }
    return readable;
}

// A replication origin per topic is active while it is applied, and one for the heartbeats; before
// 18 they count against max_replication_slots. Those of lanes (apply/lane.hpp) make room.
void check_origins(postgres::Connection& connection, std::size_t topics, Findings& findings) {
    const std::string name = connection.server_version() >= 180000
                                 ? "max_active_replication_origins"
                                 : "max_replication_slots";
    const auto limit = std::stoul(setting_of(connection, name));
    // All databases of the server share them.
    const auto others = static_cast<std::size_t>(
        connection
            .exec(fmt::format(
                "SELECT count(*) FROM pg_replication_origin WHERE roname NOT LIKE 'cqrs\\_' || "
                "(SELECT oid FROM pg_database WHERE datname = current_database()) || '\\_%' AND "
                "NOT "
                "{}",
                apply::is_lane_origin))
            .get_int(0, 0));
    findings.check(
        limit > topics + others,
        fmt::format("{} = {}, {} topics, {} other replication origins", name, limit, topics,
                    others),
        fmt::format("{} = {}: each of {} topics needs a replication origin, the heartbeats one "
                    "more, and the server has {} others",
                    name, limit, topics, others),
        fmt::format("ALTER SYSTEM SET {} = {};   -- then restart", name, topics + others + 8));
}

void compare_columns(postgres::Connection& connection, const std::string& prefix,
                     const std::string& relation, const Discovered& discovered,
                     Findings& findings) {
    const auto published = discovered.published.find(prefix);
    if (published == discovered.published.end()) {
        if (discovered.primary_read) {
            findings.warn(prefix + ": no table of the primary is published under it",
                          fmt::format("On the primary: SELECT cqrs.publish('...', '{}');", prefix));
        }
        return;
    }
    const auto here = columns_of(connection, relation);
    for (const auto& [column, type] : published->second) {
        const auto found = here.find(column);
        const auto quoted = postgres::quote_identifier(column);
        if (found == here.end()) {
            findings.fail(fmt::format("{}: column {} of the primary is missing", relation, quoted),
                          fmt::format("ALTER TABLE {} ADD COLUMN {} {};", relation, quoted, type));
        } else if (found->second != type) {
            findings.warn(
                fmt::format("{}: column {} is {}, on the primary it is {}", relation, quoted,
                            found->second, type),
                "A value that does not fit stops the topic, but a type of less precision rounds: "
                "give both sides the same type");
        }
    }
}

void compare_identities(postgres::Connection& connection, const std::string& prefix,
                        const std::string& relation, const Discovered& discovered,
                        Findings& findings) {
    const auto found = discovered.identities.find(prefix);
    if (found == discovered.identities.end()) return;
    if (!copy::finds(copy::keys_of(connection, relation), found->second))
        findings.fail(fmt::format("{}: rows are not found by ({}), by which the primary's UPDATEs "
                                  "and DELETEs name them",
                                  relation, found->second.columns),
                      copy::identity_statement(found->second, relation));
}

// Columns that no event fills and that cannot stay empty.
void check_surplus(postgres::Connection& connection, const std::string& prefix,
                   const std::string& relation, const Discovered& discovered, Findings& findings) {
    const auto published = discovered.published.find(prefix);
    if (published == discovered.published.end()) return;
    const auto rows = connection.query(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0"
        " AND NOT attisdropped AND attnotnull AND NOT atthasdef AND attidentity = ''",
        {std::string_view(relation)});
    for (int i = 0; i < rows.rows(); ++i) {
        if (published->second.contains(std::string(rows.get(i, 0)))) continue;
        const auto column = postgres::quote_identifier(rows.get(i, 0));
        findings.fail(fmt::format("{}: column {} is NOT NULL and the primary has no such column",
                                  relation, column),
                      fmt::format("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL;   -- or SET "
                                  "DEFAULT ...",
                                  relation, column));
    }
}

void check_table(postgres::Connection& connection, const std::string& prefix,
                 const std::string& relation, Findings& findings) {
    const auto result = connection.query(
        "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary),"
        " c.relrowsecurity, pg_has_role(c.relowner, 'USAGE'),"
        " (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user),"
        " c.relforcerowsecurity,"
        " (SELECT string_agg(quote_ident(conname), ', ') FROM pg_constraint"
        "  WHERE conrelid = c.oid AND condeferrable AND contype IN ('u', 'p', 'x')),"
        // BEFORE each row, ENABLE ALWAYS or REPLICA
        " (SELECT string_agg(quote_ident(tgname), ', ') FROM pg_trigger"
        "  WHERE tgrelid = c.oid AND NOT tgisinternal AND tgenabled IN ('A', 'R')"
        "  AND tgtype & 3 = 3)"
        " FROM pg_class c WHERE c.oid = $1::regclass",
        {std::string_view(relation)});
    const auto what = fmt::format("{} for {}", relation, prefix);
    findings.check(result.get_bool(0, 0), what + ": has a primary key",
                   what + ": has no primary key, rows cannot be told apart",
                   fmt::format("ALTER TABLE {} ADD PRIMARY KEY (...);", relation));
    const auto rights =
        missing_rights(connection, relation, {"SELECT", "INSERT", "UPDATE", "DELETE"});
    if (!rights.empty()) {
        findings.fail(fmt::format("{}: the role lacks {}", relation, joined(rights)),
                      grant(connection, joined(rights), relation));
    }
    const bool owner_sees_all = result.get_bool(0, 2) && !result.get_bool(0, 4);
    if (result.get_bool(0, 1) && !owner_sees_all && !result.get_bool(0, 3)) {
        findings.fail(relation + ": row-level security applies to the role",
                      "ALTER ROLE ... BYPASSRLS;   -- or make it the table's owner");
    }
    if (!result.is_null(0, 5)) {
        findings.warn(fmt::format("{}: deferrable constraints {} are not checked while applying",
                                  relation, result.get(0, 5)),
                      "session_replication_role = replica switches their deferred check off: make "
                      "them NOT DEFERRABLE");
    }
    if (!result.is_null(0, 6)) {
        findings.warn(fmt::format("{}: triggers {} fire before a row is applied: what they change "
                                  "or leave out is not as on the primary",
                                  relation, result.get(0, 6)),
                      "ALTER TABLE ... ENABLE TRIGGER ...;   -- for the writes of others alone; "
                      "cqrs-replicator verify --repair compares and mends");
    }
}

void check_subscriptions(postgres::Connection& connection, Findings& findings,
                         Discovered& discovered) {
    const auto rows = connection.exec(
        "SELECT s.prefix, s.relation::text, c.oid IS NOT NULL FROM cqrs.subscription s"
        " LEFT JOIN pg_class c ON c.oid = s.relation ORDER BY 1");
    if (rows.rows() == 0) {
        findings.warn("no table is subscribed",
                      "SELECT cqrs.subscribe('my_prefix', 'my_table');   -- or CREATE EXTENSION "
                      "parking CASCADE;");
    }
    std::set<std::string> topics;
    for (int i = 0; i < rows.rows(); ++i) {
        const std::string prefix(rows.get(i, 0)), relation(rows.get(i, 1));
        topics.emplace(topic_of(prefix));
        if (!rows.get_bool(i, 2)) {
            findings.fail(fmt::format("{}: its table does not exist any more", prefix),
                          fmt::format("SELECT cqrs.unsubscribe('{}');", prefix));
            continue;
        }
        check_table(connection, prefix, relation, findings);
        compare_columns(connection, prefix, relation, discovered, findings);
        compare_identities(connection, prefix, relation, discovered, findings);
        check_surplus(connection, prefix, relation, discovered, findings);
    }
    check_origins(connection, topics.size(), findings);
    discovered.topics.insert(topics.begin(), topics.end());
}

void check_positions(postgres::Connection& connection, Findings& findings) {
    const auto rows = connection.exec(
        "SELECT topic, coalesce(error, 'no reason given') FROM cqrs.position"
        " WHERE state = 'stopped' ORDER BY 1");
    for (int i = 0; i < rows.rows(); ++i) {
        findings.fail(fmt::format("topic {} is stopped: {}", rows.get(i, 0), rows.get(i, 1)),
                      "Remove the cause; the applier tries again within half a minute");
    }
}

}  // namespace

void check_replica(const Settings& settings, Findings& findings, Discovered& discovered) {
    auto connection =
        check_connection(settings.replica_database_url, "REPLICA_DATABASE_URL", findings);
    if (!connection) return;
    try {
        check_version(*connection, findings);
        const auto identity = database_identity(*connection);
        if (!identity.empty() && discovered.primary_identity == identity) {
            findings.fail("this is the primary's database",
                          "Point REPLICA_DATABASE_URL at another database");
            return;
        }
        if (connection->exec("SELECT pg_is_in_recovery()").get_bool(0, 0)) {
            findings.fail("this server is a physical standby: nothing can be written",
                          "Point REPLICA_DATABASE_URL at a server that is not in recovery");
            return;
        }
        if (!check_extension(*connection, findings)) return;
        if (!check_apply_rights(*connection, findings)) return;
        check_name(*connection, settings.replica, findings);
        check_subscriptions(*connection, findings, discovered);
        check_positions(*connection, findings);
    } catch (const postgres::Error& e) {
        findings.fail(fmt::format("a check failed: {}", e.what()), e.hint());
    }
}

}  // namespace cqrs
