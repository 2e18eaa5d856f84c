// The initial copy of tables, and every copy that heals: primary to replica at one point of the
// primary's WAL, streamed by COPY, never held in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "copy/progress.hpp"
#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs::apply {

struct CopyTarget {
    std::string
        prefix;  // found in cqrs.published on the primary; copies nothing if it is not there
    std::string
        relation;      // on the replica, qualified and quoted (regclass::text under an empty path)
    std::string rows;  // Table::rows()
    bool ignore_unknown = false;  // columns that only the primary has are left out
};

// Which stream the copy shall join.
struct CopyStream {
    std::string slot;            // of the relay: its row in cqrs.relay_state names the epoch
    std::int64_t epoch_met = 0;  // the copy is made because of events of this epoch; 0: of none
};

struct CopyReport {
    std::uint64_t point =
        0;  // the copy holds exactly the commits whose end LSN is at or before this
    std::int64_t epoch = 0;    // of the stream that holds every event committed after the point
    std::string epoch_reason;  // why that epoch began
    std::int64_t rows = 0;
    std::vector<std::string> not_published;  // prefixes that the primary did not know at that point
};

// Replaces the rows of the targets inside the transaction that is open on `replica`; committing it,
// together with the positions, is the caller's. Bind the queue first: events after `point` must
// already be on their way into it.
//
// Before a relay has made its slot there is no stream that the copy could join: what is committed
// between the copy and the slot would be in neither. That is an Error to retry. UnknownEpoch if
// epoch_met is newer than the primary's.
//
// Waits for transactions of the primary that are older than the snapshot (that is how Postgres
// finds a consistent point), until stop is requested. Throws postgres::Error; with Remedy::stop
// where a table of the replica lacks a column of the primary's.
CopyReport copy_snapshot(const std::string& database_url, postgres::Connection& replica,
                         const std::vector<CopyTarget>& targets, const CopyStream& stream,
                         copy::Progress& progress, const Stop& stop);

// One table of it: `primary` sees the snapshot, `source` is its table, `replica` is in the
// transaction that replaces the rows.
std::int64_t copy_table(postgres::Connection& primary, postgres::Connection& replica,
                        const CopyTarget& target, const std::string& source, bool partitioned,
                        copy::Progress& progress, const Stop& stop);

struct StreamEpoch {
    std::int64_t number = 0;
    std::string reason;  // why it began
};
// The epoch that the relay's row names, as this transaction of the primary sees it. Error{retry}
// before there is one, UnknownEpoch.
StreamEpoch stream_epoch(postgres::Connection& primary, const CopyStream& stream);

// TRUNCATE and rewrites are not MVCC-safe: an older snapshot finds such a table empty. From here on
// none can come, until the transaction ends; one that came between the snapshot and now shows in
// the table's file, which the snapshot's catalog still has as it was: Error{retry}.
void hold_table(postgres::Connection& primary, const std::string& source);

}  // namespace cqrs::apply
