// N jobs that fill tables which nobody reads yet: each has a pair of connections, all see the
// primary under one snapshot. A piece of a table is a transaction of its own; indexes follow when
// the last piece is in.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apply/exported_snapshot.hpp"
#include "config.hpp"
#include "copy/columns.hpp"
#include "copy/definition.hpp"
#include "copy/progress.hpp"
#include "stop.hpp"

namespace cqrs::copy {

struct Piece {
    int number = 0;
    std::string source;    // the table, or one of its partitions
    bool ordinary = true;  // false: a partition that has no blocks of its own
    std::string where;     // of its blocks; empty: all
};

struct NewTable {
    std::string topic, prefix;
    std::string source;  // on the primary, qualified and quoted
    Definition definition;
    ColumnList list;
    std::vector<Piece> pieces;
    std::int64_t blocks = 0, rows_expected = 0;
    std::uint64_t point = 0;  // of the snapshot that it was copied under
    std::int64_t epoch = 0;
    bool finished = false;
    std::shared_ptr<TableProgress> progress;
};

// Returns when every table that is not finished is; throws the first error that a job could not get
// over. Error{retry}: under a new snapshot it may work.
void run_jobs(const Settings& settings, const apply::ExportedSnapshot& snapshot,
              const std::vector<NewTable*>& tables, const Stop& stop);

}  // namespace cqrs::copy
