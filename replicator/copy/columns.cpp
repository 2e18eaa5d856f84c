#include "copy/columns.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace cqrs::copy {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

namespace {

// Binary forms hold OIDs of the database they come from in composites, arrays of user-defined types
// and reg* types; money depends on the locale. Enums travel as their labels.
constexpr const char* columns_sql = R"(
    WITH RECURSIVE base(attnum, type) AS (
        SELECT attnum, atttypid FROM pg_catalog.pg_attribute
        WHERE attrelid = $1::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT b.attnum, t.typbasetype FROM base b
        JOIN pg_catalog.pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
    )
    SELECT a.attname, a.attgenerated <> '', pg_catalog.format_type(t.oid, NULL),
           t.typtype = 'e' OR (t.oid < 10000 AND t.typtype IN ('b', 'r', 'm') AND t.typsend <> 0
                               AND (t.typcategory <> 'A' OR (SELECT e.typsend <> 0 FROM
                                    pg_catalog.pg_type e WHERE e.oid = t.typelem))
                               AND t.typname !~ '^_?(reg|money|xml)')
    FROM pg_catalog.pg_attribute a
    JOIN base b USING (attnum)
    JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd'
    WHERE a.attrelid = $1::pg_catalog.regclass
    ORDER BY a.attnum)";

bool json(const Column& column) {
    return column.type == "json" || column.type == "jsonb";
}

}  // namespace

std::vector<Column> columns(Connection& connection, const std::string& relation) {
    const auto rows = connection.query(columns_sql, {relation});
    std::vector<Column> out;
    for (int i = 0; i < rows.rows(); i++)
        out.push_back({std::string(rows.get(i, 0)), rows.get_bool(i, 1),
                       std::string(rows.get(i, 2)), rows.get_bool(i, 3)});
    return out;
}

ColumnList column_list(const std::vector<Column>& primary, const std::vector<Column>& replica,
                       const std::string& prefix, const std::string& relation,
                       bool ignore_unknown) {
    std::vector<std::string> names;
    bool binary = true;
    for (const Column& column : primary) {
        const auto found = std::find_if(replica.begin(), replica.end(),
                                        [&](const Column& c) { return c.name == column.name; });
        if (found == replica.end()) {
            // A generated column carries nothing of its own.
            if (column.generated || ignore_unknown) continue;
            const std::string quoted = postgres::quote_identifier(column.name);
            throw Error(
                Remedy::stop, "42703",
                fmt::format("table {} of the replica has no column {}", relation, quoted),
                fmt::format("The primary's table of prefix {} has it.", prefix),
                fmt::format("On the replica: ALTER TABLE {} ADD COLUMN {} ...", relation, quoted));
        }
        if (found->generated) continue;
        // An event does not say whether "x" is text or JSON: streamed, the value would be another.
        if (json(column) != json(*found)) {
            const std::string quoted = postgres::quote_identifier(column.name);
            throw Error(
                Remedy::stop, "42804",
                fmt::format("column {} of table {} of the replica is {}, on the primary it is {}",
                            quoted, relation, found->type, column.type),
                fmt::format(
                    "JSON goes into json and jsonb only, and nothing else does (prefix {}).",
                    prefix),
                fmt::format("On the replica: ALTER TABLE {} ALTER COLUMN {} TYPE {} USING ...",
                            relation, quoted, column.type));
        }
        names.push_back(postgres::quote_identifier(column.name));
        binary = binary && column.binary && found->binary && column.type == found->type;
    }
    return {fmt::format("{}", fmt::join(names, ", ")), binary};
}

std::string copy_out_sql(const ColumnList& list, const std::string& source, bool partitioned,
                         const std::string& where) {
    // A partitioned table is read through its root; an inheritance parent's children are tables of
    // their own.
    return fmt::format("COPY (SELECT {} FROM {}{}{}{}) TO STDOUT{}", list.names,
                       partitioned ? "" : "ONLY ", source, where.empty() ? "" : " WHERE ", where,
                       list.binary ? " (FORMAT binary)" : "");
}

std::string copy_in_sql(const ColumnList& list, const std::string& target) {
    return fmt::format("COPY {} ({}) FROM STDIN{}", target, list.names,
                       list.binary ? " (FORMAT binary)" : "");
}

}  // namespace cqrs::copy
