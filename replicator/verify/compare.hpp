// One table on both sides, each in a transaction that sees the same point: which keys differ.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "postgres/connection.hpp"

namespace cqrs::verify {

struct Column {
    std::string name;  // quoted
    std::string type;  // on the replica, with modifiers
    bool key = false, generated = false;
};

// A subscribed table and the primary's of its prefix.
struct Pair {
    std::string prefix, topic;
    std::string here, there;  // qualified and quoted: replica, primary ("": not published)
    std::string rows_here, rows_there;  // the same with ONLY: children are tables of their own
    std::vector<Column> columns;        // that both have, in the replica's order
    bool live = false;
};

struct Difference {
    enum class Kind { missing, extra, different } kind;  // seen from the replica
    std::vector<std::string> key;                        // the key columns' texts
};

struct Comparison {
    std::int64_t rows = 0;  // of the primary
    std::int64_t missing = 0, extra = 0, different = 0;
    std::int64_t all() const { return missing + extra + different; }
};

std::vector<Pair> load_pairs(postgres::Connection& replica);
// Fills there, rows_there and columns; in a transaction of the primary. Throws postgres::Error
// where the key is not on both sides.
void load_columns(Pair& pair, postgres::Connection& primary, postgres::Connection& replica);

// Both sides hash their rows in buckets by key, once over each table; only buckets that differ are
// read key by key. Memory is bounded; keys of any type, whatever collations the servers use.
Comparison compare(const Pair& pair, postgres::Connection& primary, postgres::Connection& replica,
                   const std::function<void(const Difference&)>& report);

// Makes the rows of those keys on the replica what they are on the primary, in the transactions
// that are open on both sides. Returns how many rows were written or removed.
std::int64_t repair(const Pair& pair, postgres::Connection& primary, postgres::Connection& replica,
                    const std::vector<Difference>& differences);

}  // namespace cqrs::verify
