// The statements of the writer, as text.
#pragma once

#include <string>
#include <vector>

#include "apply/table.hpp"

namespace cqrs::apply::sql {

using Columns = std::vector<std::uint32_t>;

// Collides with no column of the table.
std::string tag_column(const Table& table);
std::string staging_name(const Table& table);
std::string create_staging(const Table& table);

// Prepared under that name: executing it fails with 0A000 once a column's type is another, and
// keeps the types as they are until the transaction ends.
std::string types_statement(const Table& table);
std::string select_types(const Table& table);

// "a", "b" with an optional "s." before each.
std::string list(const Table& table, const Columns& columns, const char* qualifier = "");
// t."k" OPERATOR(pg_catalog.=) s."k" AND ...
std::string match(const Table& table, const Key& key);
// "k" OPERATOR(pg_catalog.=) $3::uuid AND ...
std::string match_params(const Table& table, const Key& key, std::size_t first);

// The columns that an UPDATE has to SET; empty when the pattern holds nothing that can be.
Columns to_set(const Table& table, const Columns& columns, const Key& key);

std::string delete_staged(const Table& table, const std::string& tag_condition);
// $1: an array of keys, which have one column.
std::string delete_listed(const Table& table);
std::string update_staged(const Table& table, const Columns& set, std::int64_t tag);
std::string fill_staged(const Table& table, const Columns& absent, std::int64_t tag);
std::string insert_staged(const Table& table, const Columns& columns, std::int64_t tag);

std::string insert_one(const Table& table, const Columns& columns);  // unless it is there
std::string insert_new(const Table& table, const Columns& columns);  // an ERROR if it is there
std::string update_one(const Table& table, const Columns& set, const Key& key);
std::string delete_one(const Table& table, const Key& key);
// DELETE the old row and INSERT it with the new values: where a key column cannot be SET.
std::string move_one(const Table& table, const Columns& present, const Columns& absent,
                     const Key& key);

// UPDATE or DELETE of one row: an ERROR (22P02) if it is none.
std::string surely(const std::string& statement);

}  // namespace cqrs::apply::sql
