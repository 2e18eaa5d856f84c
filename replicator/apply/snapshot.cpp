#include "apply/snapshot.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apply/errors.hpp"
#include "apply/exported_snapshot.hpp"

namespace cqrs::apply {
namespace {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;
using postgres::Result;

Error stopped() {
    return {Remedy::retry, "57014", "the copy was interrupted: the applier is stopping"};
}

struct Epoch {
    std::int64_t number;
    std::string reason;
};

// The epoch that the relay's row names, as this transaction of the primary sees it.
Epoch stream_epoch(Connection& primary, const CopyStream& stream) {
    Result row =
        primary.query("SELECT epoch, reason FROM cqrs.relay_state WHERE slot = $1", {stream.slot});
    if (row.rows() == 0)
        throw Error(
            Remedy::retry, "55000",
            fmt::format("the copy waits for the relay: it has not begun with slot \"{}\" yet",
                        stream.slot),
            {},
            "Start cqrs-replicator relay; if it runs with another --slot, give the applier "
            "the same.");
    const std::int64_t epoch = row.get_int(0, 0);
    if (stream.epoch_met > epoch) throw UnknownEpoch(stream.epoch_met, epoch);
    return {epoch, std::string(row.get(0, 1))};
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
            if (column.generated || target.ignore_unknown) continue;
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

// TRUNCATE and rewrites are not MVCC-safe: an older snapshot finds such a table empty. From here on
// none can come; one that came between the snapshot and now shows in the table's file, which the
// snapshot's catalog still has as it was.
void hold_table(Connection& primary, const std::string& source) {
    primary.exec("LOCK TABLE " + source + " IN ACCESS SHARE MODE");
    const Result changed = primary.query(
        "SELECT 1 FROM (SELECT $1::regclass AS oid "
        "UNION SELECT relid FROM pg_catalog.pg_partition_tree($1::regclass)) t "
        "LEFT JOIN pg_catalog.pg_class c USING (oid) WHERE c.relkind IS DISTINCT FROM 'p' "
        "AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(oid)",
        {source});
    if (changed.rows() != 0)
        throw Error(Remedy::retry, "40001",
                    fmt::format("table {} of the primary was truncated or rewritten while its copy "
                                "began; the copy begins again",
                                source));
}

std::int64_t copy_table(Connection& primary, Connection& replica, const CopyTarget& target,
                        const std::string& source, bool partitioned, const Stop& stop) {
    hold_table(primary, source);
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
                         const std::vector<CopyTarget>& targets, const CopyStream& stream,
                         const Stop& stop) {
    {
        Connection primary = Connection::open(database_url, "cqrs copy");
        stream_epoch(primary, stream);  // fails before anything waits for old transactions
    }
    ExportedSnapshot snapshot = export_snapshot(database_url, stop);
    Connection primary = open_at(snapshot, database_url, "cqrs copy");
    replica.exec(copy_settings);

    CopyReport report;
    report.point = snapshot.point;
    Epoch epoch = stream_epoch(primary, stream);
    report.epoch = epoch.number;
    report.epoch_reason = std::move(epoch.reason);
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
