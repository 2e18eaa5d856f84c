#include "apply/snapshot.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>

namespace cqrs::apply {
namespace {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;
using postgres::Result;

// Both ends of the copy print and read values in the same way; row-level security must not hide
// rows silently (off: an error where a policy would filter).
constexpr const char* copy_settings =
    "SET search_path = pg_catalog; SET client_encoding = 'UTF8'; SET DateStyle = 'ISO'; "
    "SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET extra_float_digits = 1; "
    "SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET row_security = off; "
    "SET statement_timeout = 0; SET lock_timeout = 0; "
    "SET idle_in_transaction_session_timeout = 0";

Error stopped() {
    return {Remedy::retry, "57014", "the copy was interrupted: the applier is stopping"};
}

struct ExportedSnapshot {
    Connection connection;  // the snapshot and the temporary slot live as long as this
    std::string name;
    std::uint64_t point;
};

// A temporary logical slot is what ties a snapshot to an LSN. Its plugin never decodes anything:
// pgoutput is always allowed. Creating it waits for old transactions, so it is sent without
// blocking on the answer.
ExportedSnapshot export_snapshot(const std::string& database_url, const Stop& stop) {
    Connection connection = Connection::open(database_url, "cqrs copy", true);
    // A walsender that only holds a snapshot is idle in a transaction.
    connection.exec("SET idle_in_transaction_session_timeout = 0");
    std::random_device random;
    const std::string command = fmt::format(
        "CREATE_REPLICATION_SLOT \"cqrs_copy_{:08x}{:08x}\" TEMPORARY LOGICAL pgoutput (SNAPSHOT "
        "'export')",
        random(), random());
    PGconn* raw = connection.raw();
    if (PQsendQuery(raw, command.c_str()) == 0) throw Error(Remedy::retry, "", PQerrorMessage(raw));
    bool said = false;
    while (true) {
        if (PQconsumeInput(raw) == 0) throw Error(Remedy::retry, "", PQerrorMessage(raw));
        if (PQisBusy(raw) == 0) break;
        pollfd fds[] = {{connection.socket(), POLLIN, 0}, {stop.fd(), POLLIN, 0}};
        const int ready = poll(fds, 2, 5000);
        if (stop.requested()) throw stopped();
        if (ready == 0 && !said) {
            said = true;
            spdlog::info(
                "apply: the copy waits for transactions on the primary that began before it "
                "(prepared ones too: see pg_stat_activity and pg_prepared_xacts there)");
        }
    }
    Result result(PQgetResult(raw));
    if (PQresultStatus(result.raw()) != PGRES_TUPLES_OK) {
        const char* state = PQresultErrorField(result.raw(), PG_DIAG_SQLSTATE);
        const char* text = PQresultErrorField(result.raw(), PG_DIAG_MESSAGE_PRIMARY);
        throw Error(postgres::classify(state ? state : ""), state ? state : "",
                    fmt::format("cannot take a snapshot of the primary: {}",
                                text ? text : PQerrorMessage(raw)),
                    {},
                    "The role of DATABASE_URL needs REPLICATION, and a replication slot must be "
                    "free (max_replication_slots).");
    }
    std::string name(result.get(0, 2));
    const std::uint64_t point = postgres::parse_lsn(result.get(0, 1));
    while (PGresult* rest = PQgetResult(raw)) PQclear(rest);
    return {std::move(connection), std::move(name), point};
}

struct Column {
    std::string name;
    bool generated;
};

std::vector<Column> columns(Connection& connection, const std::string& relation) {
    Result rows = connection.query(
        "SELECT attname, attgenerated <> '' FROM pg_catalog.pg_attribute "
        "WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        {relation});
    std::vector<Column> out;
    for (int i = 0; i < rows.rows(); i++)
        out.push_back({std::string(rows.get(i, 0)), rows.get_bool(i, 1)});
    return out;
}

// The primary's columns that the replica stores; throws where the replica has no such column.
std::string column_list(const std::vector<Column>& primary, const std::vector<Column>& replica,
                        const CopyTarget& target) {
    std::vector<std::string> names;
    for (const Column& column : primary) {
        auto same = [&](const Column& c) { return c.name == column.name; };
        auto found = std::find_if(replica.begin(), replica.end(), same);
        if (found == replica.end()) {
            // A generated column carries nothing of its own.
            if (column.generated) continue;
            throw Error(Remedy::stop, "42703",
                        fmt::format("table {} of the replica has no column {}", target.relation,
                                    postgres::quote_identifier(column.name)),
                        fmt::format("The primary's table of prefix {} has it.", target.prefix),
                        fmt::format("On the replica: ALTER TABLE {} ADD COLUMN {} ...",
                                    target.relation, postgres::quote_identifier(column.name)));
        }
        if (!found->generated) names.push_back(postgres::quote_identifier(column.name));
    }
    return fmt::format("{}", fmt::join(names, ", "));
}

std::int64_t copy_table(Connection& primary, Connection& replica, const CopyTarget& target,
                        const std::string& source, bool partitioned, const Stop& stop) {
    const std::string list =
        column_list(columns(primary, source), columns(replica, target.relation), target);
    replica.exec("DELETE FROM " + target.relation);  // not TRUNCATE: older readers keep their rows
    // A partitioned table is read through its root; an inheritance parent's children are tables of
    // their own.
    primary.copy_out_begin(fmt::format("COPY (SELECT {} FROM {}{}) TO STDOUT", list,
                                       partitioned ? "" : "ONLY ", source));
    replica.copy_begin(fmt::format("COPY {} ({}) FROM STDIN", target.relation, list));
    std::string_view row;
    while (primary.copy_out_next(row)) {
        replica.copy_put(row);
        if (stop.requested()) throw stopped();
    }
    return replica.copy_end();
}

}  // namespace

CopyReport copy_snapshot(const std::string& database_url, Connection& replica,
                         const std::vector<CopyTarget>& targets, const Stop& stop) {
    ExportedSnapshot snapshot = export_snapshot(database_url, stop);
    Connection primary = Connection::open(database_url, "cqrs copy");
    primary.exec(copy_settings);
    primary.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    primary.exec("SET TRANSACTION SNAPSHOT " + postgres::quote_literal(snapshot.name));
    replica.exec(copy_settings);

    CopyReport report;
    report.point = snapshot.point;
    for (const CopyTarget& target : targets) {
        Result found = primary.query(
            "SELECT p.relation::text, c.relkind = 'p' FROM cqrs.published p "
            "JOIN pg_catalog.pg_class c ON c.oid = p.relation WHERE p.prefix = $1",
            {target.prefix});
        if (found.rows() == 0) {
            report.not_published.push_back(target.prefix);
            continue;
        }
        const std::int64_t rows = copy_table(primary, replica, target, std::string(found.get(0, 0)),
                                             found.get_bool(0, 1), stop);
        spdlog::info("apply: copied {} rows of {} as of {}", rows, target.prefix,
                     postgres::format_lsn(report.point));
        report.rows += rows;
    }
    primary.exec("COMMIT");
    return report;
}

}  // namespace cqrs::apply
