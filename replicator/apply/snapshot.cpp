#include "apply/snapshot.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "apply/errors.hpp"
#include "apply/exported_snapshot.hpp"
#include "copy/columns.hpp"
#include "copy/identity.hpp"
#include "copy/pump.hpp"

namespace cqrs::apply {
namespace {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;
using postgres::Result;

Error stopped() {
    return {Remedy::retry, "57014", "the copy was interrupted: the applier is stopping"};
}

// For the progress only: statistics, 0 where there are none.
std::int64_t rows_expected(Connection& primary, const std::string& source) {
    return primary
        .query(
            "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_catalog.pg_class "
            "WHERE oid = $1::pg_catalog.regclass OR oid IN (SELECT relid FROM "
            "pg_catalog.pg_partition_tree($1::pg_catalog.regclass) WHERE isleaf)",
            {source})
        .get_int(0, 0);
}

}  // namespace

std::int64_t copy_table(Connection& primary, Connection& replica, const CopyTarget& target,
                        const std::string& source, bool partitioned, copy::Progress& progress,
                        const Stop& stop) {
    hold_table(primary, source);
    copy::require_identity(copy::identity_of(primary, source),
                           copy::keys_of(replica, target.relation), target.prefix, target.relation);
    const auto list =
        copy::column_list(copy::columns(primary, source), copy::columns(replica, target.relation),
                          target.prefix, target.relation, target.ignore_unknown);
    const auto shown = progress.add(target.prefix, target.relation, rows_expected(primary, source));
    try {
        replica.exec("DELETE FROM " + target.rows);  // not TRUNCATE: older readers keep theirs
        primary.copy_out_begin(copy::copy_out_sql(list, source, partitioned));
        replica.copy_begin(copy::copy_in_sql(list, target.relation));
        const std::int64_t rows = copy::pump(primary, replica, *shown, [&] {
            if (stop.requested()) throw stopped();
        });
        shown->set(copy::TableProgress::State::done);
        return rows;
    } catch (...) {
        shown->set(copy::TableProgress::State::failed);
        throw;
    }
}

// The epoch that the relay's row names, as this transaction of the primary sees it.
StreamEpoch stream_epoch(Connection& primary, const CopyStream& stream) {
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

CopyReport copy_snapshot(const std::string& database_url, Connection& replica,
                         const std::vector<CopyTarget>& targets, const CopyStream& stream,
                         copy::Progress& progress, const Stop& stop) {
    {
        Connection primary = Connection::open(database_url, "cqrs copy");
        stream_epoch(primary, stream);  // fails before anything waits for old transactions
    }
    ExportedSnapshot snapshot = export_snapshot(database_url, stop);
    Connection primary = open_at(snapshot, database_url, "cqrs copy");
    replica.exec(copy_settings);

    CopyReport report;
    report.point = snapshot.point;
    StreamEpoch epoch = stream_epoch(primary, stream);
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
                                             found.get_bool(0, 1), progress, stop);
        spdlog::info("apply: copied {} rows of {} as of {}", rows, target.prefix,
                     postgres::format_lsn(report.point));
        report.rows += rows;
    }
    primary.exec("COMMIT");
    return report;
}

}  // namespace cqrs::apply
