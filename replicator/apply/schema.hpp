// What to do when a table of the primary has other columns than its copy (cqrs.subscribe(...,
// schema => stop | follow | ignore)).
#pragma once

#include <string>
#include <vector>

#include "postgres/connection.hpp"

namespace cqrs::apply {

// Makes the copy's columns those of the primary's table, in the transaction that is open on
// `replica`: adds what is missing (without NOT NULL and default: every row carries its value) and
// changes types. A column that the primary has no longer stays, with what it holds; it loses NOT
// NULL where no default would fill it. Returns what was done, for the log. Throws
// postgres::Error{stop} where the replica refuses.
std::vector<std::string> follow_schema(postgres::Connection& primary, postgres::Connection& replica,
                                       const std::string& prefix, const std::string& relation);

// The statement that adds the column, with the primary's type if `database_url` is set and tells.
std::string add_column_statement(const std::string& database_url, const std::string& prefix,
                                 const std::string& relation, const std::string& column);

}  // namespace cqrs::apply
