// Which columns a copy carries, and whether they may travel in binary.
#pragma once

#include <string>
#include <vector>

#include "postgres/connection.hpp"

namespace cqrs::copy {

struct Column {
    std::string name;
    bool generated = false;
    std::string type;     // the base type of domains, without typmod
    bool binary = false;  // its binary form means the same in every database
};

std::vector<Column> columns(postgres::Connection& connection, const std::string& relation);

struct ColumnList {
    std::string names;    // quoted, separated by commas
    bool binary = false;  // both sides agree on every type
};

// The primary's columns that the replica stores; Error{stop} where the replica has no such column,
// unless such are to be ignored.
ColumnList column_list(const std::vector<Column>& primary, const std::vector<Column>& replica,
                       const std::string& prefix, const std::string& relation,
                       bool ignore_unknown = false);

// "COPY (SELECT ... FROM ONLY source WHERE ...) TO STDOUT" and its other end.
std::string copy_out_sql(const ColumnList& list, const std::string& source, bool partitioned,
                         const std::string& where = {});
std::string copy_in_sql(const ColumnList& list, const std::string& target);

}  // namespace cqrs::copy
