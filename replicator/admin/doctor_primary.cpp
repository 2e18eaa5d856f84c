#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "admin/doctor_checks.hpp"
#include "admin/status_report.hpp"
#include "event.hpp"

namespace cqrs {
namespace {

constexpr std::int64_t much_wal = std::int64_t{1} << 30;

void check_settings(postgres::Connection& connection, Findings& findings) {
    const auto wal_level = setting_of(connection, "wal_level");
    findings.check(wal_level == "logical", "wal_level = logical", "wal_level = " + wal_level,
                   "ALTER SYSTEM SET wal_level = logical;   -- then restart the server");
    const auto recovery = connection.exec("SELECT pg_is_in_recovery()");
    if (recovery.get_bool(0, 0)) {
        findings.fail("this server is a standby",
                      "Point DATABASE_URL at the primary (several hosts: "
                      "target_session_attrs=read-write)");
    }
    if (setting_of(connection, "max_slot_wal_keep_size") == "-1") {
        findings.warn(
            "max_slot_wal_keep_size = -1: while the broker is down WAL piles up until "
            "this disk is full",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB';   -- less than the disk "
            "has; SELECT pg_reload_conf();\n"
            "Beyond it the slot is lost and every replica copies its tables again");
    } else {
        findings.ok("max_slot_wal_keep_size = " + setting_of(connection, "max_slot_wal_keep_size"));
    }
    const auto idle = setting_of(connection, "idle_replication_slot_timeout");
    if (!idle.empty() && idle != "0") {
        findings.warn("idle_replication_slot_timeout = " + idle +
                          ": a relay that is down for longer loses its slot",
                      "ALTER SYSTEM RESET idle_replication_slot_timeout; SELECT pg_reload_conf();");
    }
    const auto prepared = connection.exec("SELECT count(*) FROM pg_prepared_xacts");
    if (prepared.get_int(0, 0) != 0) {
        findings.warn(fmt::format("{} prepared transactions: a new slot waits until they end",
                                  prepared.get(0, 0)),
                      "SELECT gid, prepared FROM pg_prepared_xacts;   -- COMMIT or ROLLBACK "
                      "PREPARED what was forgotten");
    }
}

// Servers since August 2026 have the setting.
bool knows_output_plugins(const postgres::Connection& connection) {
    const int version = connection.server_version();
    switch (version / 10000) {
        case 15:
            return version >= 150019;
        case 16:
            return version >= 160015;
        case 17:
            return version >= 170011;
        case 18:
            return version >= 180006;
        default:
            return version > 180000;
    }
}

// The list has no quotes round the whole: it would become one long name.
void check_output_plugins(postgres::Connection& connection, Findings& findings) {
    const auto list = setting_of(connection, "output_plugin_libraries");
    if (list.empty()) {
        if (knows_output_plugins(connection)) {
            findings.note(
                "output_plugin_libraries is hidden from this role; it must hold pg_cqrs (GRANT "
                "pg_read_all_settings shows it)");
        } else {
            findings.ok("this server has no output_plugin_libraries to set");
        }
        return;
    }
    std::vector<std::string> wanted = {"pgoutput", "test_decoding"};
    std::istringstream in(list);
    bool there = false;
    for (std::string name; std::getline(in, name, ',');) {
        name.erase(0, name.find_first_not_of(" \""));
        name.erase(name.find_last_not_of(" \"") + 1);
        if (name == "pg_cqrs") there = true;
        if (!name.empty() && name != "pg_cqrs" &&
            std::find(wanted.begin(), wanted.end(), name) == wanted.end()) {
            wanted.push_back(name);
        }
    }
    wanted.emplace_back("pg_cqrs");
    findings.check(there, "output_plugin_libraries = " + list,
                   "output_plugin_libraries = " + list + ": the server refuses the plugin pg_cqrs",
                   "ALTER SYSTEM SET output_plugin_libraries = " + joined(wanted) +
                       ";\nSELECT pg_reload_conf();");
}

void check_role(postgres::Connection& connection, Findings& findings) {
    const auto role = connection.exec(
        "SELECT quote_ident(rolname), rolsuper, rolreplication FROM pg_roles"
        " WHERE rolname = current_user");
    findings.check(role.get_bool(0, 1) || role.get_bool(0, 2), "the role has REPLICATION",
                   "the role has no REPLICATION right",
                   fmt::format("ALTER ROLE {} REPLICATION;", role.get(0, 0)));
}

void check_capacity(postgres::Connection& connection, const std::string& slot, Findings& findings) {
    const auto result = connection.query(
        "SELECT current_setting('max_replication_slots')::bigint,"
        " (SELECT count(*) FROM pg_replication_slots),"
        " (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1),"
        " current_setting('max_wal_senders')::bigint, (SELECT count(*) FROM pg_stat_replication),"
        " (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active)",
        {std::string_view(slot)});
    // One for the relay, unless it has it already, and one for a copy to a replica.
    const auto slots = result.get_int(0, 0) - result.get_int(0, 1);
    const auto wanted = 2 - result.get_int(0, 2);
    findings.check(slots >= wanted,
                   fmt::format("{} of {} replication slots free", slots, result.get(0, 0)),
                   fmt::format("{} of {} replication slots free, {} wanted (relay, copies)", slots,
                               result.get(0, 0), wanted),
                   fmt::format("ALTER SYSTEM SET max_replication_slots = {};   -- then restart",
                               result.get_int(0, 0) + 8));
    const auto senders = result.get_int(0, 3) - result.get_int(0, 4);
    const auto needed = 2 - result.get_int(0, 5);
    findings.check(senders >= needed,
                   fmt::format("{} of {} walsenders free", senders, result.get(0, 3)),
                   fmt::format("{} of {} walsenders free, {} wanted (relay, copies)", senders,
                               result.get(0, 3), needed),
                   fmt::format("ALTER SYSTEM SET max_wal_senders = {};   -- then restart",
                               result.get_int(0, 3) + 8));
}

void check_slot(postgres::Connection& connection, const std::string& slot, Findings& findings) {
    const auto result = connection.query(
        "SELECT plugin, database, active, coalesce(wal_status, ''),"
        " CASE WHEN pg_is_in_recovery() THEN 0 ELSE"
        "  coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0) END::bigint,"
        " database = current_database()"
        " FROM pg_replication_slots WHERE slot_name = $1",
        {std::string_view(slot)});
    if (result.rows() == 0) {
        findings.warn("slot " + slot + " does not exist yet",
                      "cqrs-replicator relay makes it at its first start");
        return;
    }
    if (result.get(0, 0) != "pg_cqrs" || !result.get_bool(0, 5)) {
        findings.fail(fmt::format("slot {} belongs to plugin \"{}\", database \"{}\"", slot,
                                  result.get(0, 0), result.get(0, 1)),
                      "Give the relay another name: --slot, CQRS_SLOT");
        return;
    }
    const std::string wal_status(result.get(0, 3));
    const auto retained = result.get_int(0, 4);
    const auto keeps =
        fmt::format("slot {} keeps {} of WAL ({})", slot, human_bytes(retained), wal_status);
    if (wal_status == "lost") {
        findings.fail("slot " + slot + " lost WAL that it needed",
                      "Start the relay: it begins a new epoch and the replicas copy again");
    } else if (retained > much_wal || wal_status == "unreserved") {
        findings.warn(keeps,
                      "A relay that is down or a broker that is full holds it: "
                      "cqrs-replicator status");
    } else {
        findings.ok(keeps);
    }
    if (!result.get_bool(0, 2)) {
        findings.warn("no relay is connected to slot " + slot, "Start cqrs-replicator relay");
    }
}

// No slot can be read over changes of cqrs.published once that table is gone.
void note_other_slots(postgres::Connection& connection, const std::string& slot,
                      Findings& findings) {
    const auto result = connection.query(
        "SELECT string_agg(format('%s (%s, read up to %s)', slot_name, plugin,"
        " confirmed_flush_lsn), ', ' ORDER BY slot_name) FROM pg_replication_slots"
        " WHERE database = current_database() AND slot_name <> $1 AND NOT temporary",
        {std::string_view(slot)});
    if (result.is_null(0, 0)) return;
    findings.note(fmt::format(
        "other slots of this database: {}. Before a DROP EXTENSION pg_cqrs they must have read "
        "past the last cqrs.publish() or unpublish(), or be dropped",
        result.get(0, 0)));
}

// False: what is published cannot be read.
bool check_relay_rights(postgres::Connection& connection, Findings& findings) {
    const auto state =
        missing_rights(connection, "cqrs.relay_state", {"SELECT", "INSERT", "UPDATE"});
    findings.check(state.empty(), "the role may write cqrs.relay_state",
                   "the role lacks rights on cqrs.relay_state",
                   grant(connection, joined(state), "cqrs.relay_state"));
    const auto replica =
        missing_rights(connection, "cqrs.replica", {"SELECT", "INSERT", "UPDATE", "DELETE"});
    if (!replica.empty()) {
        findings.warn(
            "the role lacks rights on cqrs.replica: the relay cannot write down where the "
            "replicas are, and status on the primary does not show them",
            grant(connection, joined(replica), "cqrs.replica"));
    }
    const auto published = missing_rights(connection, "cqrs.published", {"SELECT"});
    findings.check(published.empty(), "the role may read cqrs.published",
                   "the role may not read cqrs.published",
                   grant(connection, "SELECT", "cqrs.published"));
    return published.empty();
}

void check_histories(postgres::Connection& connection, Findings& findings) {
    const auto rows = connection.exec(
        "SELECT topic, state, coalesce(error, '') FROM cqrs.retention_status ORDER BY topic");
    if (rows.rows() == 0) return;
    const auto state = missing_rights(connection, "cqrs.retention_state",
                                      {"SELECT", "INSERT", "UPDATE", "DELETE"});
    if (!state.empty())
        findings.warn(
            "the role lacks rights on cqrs.retention_state: the relay cannot write down what is "
            "kept, nor delete what is forgotten",
            grant(connection, joined(state), "cqrs.retention_state"));
    for (int i = 0; i < rows.rows(); ++i) {
        const std::string topic(rows.get(i, 0)), now(rows.get(i, 1));
        if (now == "kept")
            findings.ok("the events of topic " + topic + " are kept");
        else if (now == "failed")
            findings.warn(
                fmt::format("the events of topic {} are not kept: {}", topic, rows.get(i, 2)),
                "RabbitMQ from 3.9 on has streams; README, \"Rights\"");
        else
            findings.note(fmt::format("the history of topic {}: {}", topic, now));
    }
}

// Default and index identities need their index; a missing one sends deletes without a key.
void check_identity(const postgres::Result& row, int i, Findings& findings) {
    const std::string relation(row.get(i, 1));
    const auto what = fmt::format("{} as {}", relation, row.get(i, 0));
    if (row.get(i, 2) != "p") {
        findings.fail(what + ": the table is not logged, nothing of it is in the WAL",
                      fmt::format("ALTER TABLE {} SET LOGGED;", relation));
    } else if (!row.get_bool(i, 3)) {
        findings.fail(what + ": no usable replica identity, deletes and updates have no key",
                      fmt::format("ALTER TABLE {} ADD PRIMARY KEY (...);\n"
                                  "or ALTER TABLE {} REPLICA IDENTITY USING INDEX ...;",
                                  relation, relation));
    } else {
        findings.ok(what + ": published, replica identity " + std::string(row.get(i, 4)));
    }
}

void check_published(postgres::Connection& connection, Findings& findings, Discovered& discovered) {
    const auto rows = connection.exec(
        "SELECT p.prefix, p.relation::text, c.relpersistence,"
        " CASE c.relreplident"
        "  WHEN 'f' THEN true"
        "  WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND indisprimary)"
        "  WHEN 'i' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid"
        "   AND indisreplident AND indisvalid)"
        "  ELSE false END,"
        " CASE c.relreplident WHEN 'f' THEN 'full' WHEN 'i' THEN 'index' ELSE 'primary key' END"
        " FROM cqrs.published p JOIN pg_class c ON c.oid = p.relation ORDER BY 1");
    if (rows.rows() == 0) {
        findings.warn("no table is published", "SELECT cqrs.publish('my_table', 'my_prefix');");
    }
    for (int i = 0; i < rows.rows(); ++i) {
        check_identity(rows, i, findings);
        const std::string relation(rows.get(i, 1));
        if (!missing_rights(connection, relation, {"SELECT"}).empty()) {
            findings.warn(relation + ": the role may not read it, so replicas cannot copy it",
                          grant(connection, "SELECT", relation));
        }
        const std::string prefix(rows.get(i, 0));
        discovered.published[prefix] = columns_of(connection, relation);
        discovered.identities[prefix] = copy::identity_of(connection, relation);
        discovered.topics.emplace(topic_of(prefix));
    }
    discovered.primary_read = true;
}

}  // namespace

void check_primary(const Settings& settings, Findings& findings, Discovered& discovered) {
    auto connection = check_connection(settings.database_url, "DATABASE_URL", findings);
    if (!connection) return;
    try {
        check_version(*connection, findings);
        check_settings(*connection, findings);
        check_output_plugins(*connection, findings);
        check_role(*connection, findings);
        check_capacity(*connection, settings.slot, findings);
        check_slot(*connection, settings.slot, findings);
        discovered.primary_identity = database_identity(*connection);
        if (!check_extension(*connection, findings)) return;
        note_other_slots(*connection, settings.slot, findings);
        check_histories(*connection, findings);
        if (!check_relay_rights(*connection, findings)) return;
        check_published(*connection, findings, discovered);
    } catch (const postgres::Error& e) {
        findings.fail(fmt::format("a check failed: {}", e.what()), e.hint());
    }
}

}  // namespace cqrs
