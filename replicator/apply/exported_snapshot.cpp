#include "apply/exported_snapshot.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <random>

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
        if (stop.requested())
            throw Error(Remedy::retry, "57014",
                        "the copy was interrupted: the applier is stopping");
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

Connection open_at(const ExportedSnapshot& snapshot, const std::string& database_url,
                   const std::string& application_name) {
    Connection primary = Connection::open(database_url, application_name);
    primary.exec(copy_settings);
    primary.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    primary.exec("SET TRANSACTION SNAPSHOT " + postgres::quote_literal(snapshot.name));
    return primary;
}

}  // namespace cqrs::apply
