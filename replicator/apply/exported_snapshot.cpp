#include "apply/exported_snapshot.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <random>
#include <utility>

namespace cqrs::apply {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;
using postgres::Result;

// A temporary logical slot is what ties a snapshot to an LSN. Its plugin never decodes anything:
// pgoutput is always allowed. Creating it waits for old transactions, so it is sent without
// blocking on the answer.
ExportedSnapshot export_snapshot(const std::string& database_url, const Stop& stop) {
    Connection connection = Connection::open(database_url, "cqrs copy", true);
    std::random_device random;
    const std::string command = fmt::format(
        "CREATE_REPLICATION_SLOT \"cqrs_copy_{:08x}{:08x}\" TEMPORARY LOGICAL pgoutput (SNAPSHOT "
        "'export')",
        random(), random());
    bool said = false;
    std::optional<Result> result;
    try {
        result = connection.exec_interruptible(command, stop, [&] {
            if (std::exchange(said, true)) return;
            spdlog::info(
                "apply: the copy waits for transactions on the primary that began before it "
                "(prepared ones too: see pg_stat_activity and pg_prepared_xacts there)");
        });
    } catch (const Error& e) {
        throw Error(e.remedy(), e.sqlstate(),
                    fmt::format("cannot take a snapshot of the primary: {}", e.what()), e.detail(),
                    "The role of DATABASE_URL needs REPLICATION, and a replication slot must be "
                    "free (max_replication_slots).");
    }
    if (!result)
        throw Error(Remedy::retry, "57014", "the copy was interrupted: the applier is stopping");
    return {std::move(connection), std::string(result->get(0, 2)),
            postgres::parse_lsn(result->get(0, 1))};
}

Connection open_at(const ExportedSnapshot& snapshot, const std::string& database_url,
                   const std::string& application_name) {
    Connection primary = Connection::open(database_url, application_name);
    primary.exec(copy_settings);
    primary.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    primary.exec("SET TRANSACTION SNAPSHOT " + postgres::quote_literal(snapshot.name));
    return primary;
}

}  // namespace cqrs::apply
