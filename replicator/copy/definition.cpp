#include "copy/definition.hpp"

#include <fmt/format.h>

#include "postgres/connection.hpp"

namespace cqrs::copy {

using postgres::Connection;
using postgres::quote_identifier;
using postgres::Result;

namespace {

constexpr std::string_view place = "{}";

// PL: what is not pinned in pg_depend is the user's own; the table's own columns do not count.
constexpr const char* columns_sql = R"(
    SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
           CASE WHEN a.attcollation <> t.typcollation THEN
               (SELECT pg_catalog.format('%I.%I', n.nspname, c.collname)
                FROM pg_catalog.pg_collation c
                JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
                WHERE c.oid = a.attcollation) END,
           a.attgenerated, pg_catalog.pg_get_expr(d.adbin, d.adrelid),
           EXISTS (SELECT FROM pg_catalog.pg_depend p
                   WHERE p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                     AND p.objid = d.oid
                     AND (p.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass,
                                           'pg_catalog.pg_operator'::pg_catalog.regclass)
                          OR (p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                              AND p.refobjid <> a.attrelid)))
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum)";

// The primary key cannot be deferrable: rows are found by it.
constexpr const char* constraints_sql = R"(
    SELECT c.conname, c.contype = 'p' OR coalesce(x.indisreplident, false),
           CASE WHEN c.contype = 'p'
                THEN pg_catalog.regexp_replace(pg_catalog.pg_get_constraintdef(c.oid),
                                               ' DEFERRABLE.*$', '')
                ELSE pg_catalog.pg_get_constraintdef(c.oid) END,
           EXISTS (SELECT FROM pg_catalog.pg_depend p
                   WHERE p.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
                     AND p.objid = c.oid
                     AND p.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass,
                                          'pg_catalog.pg_operator'::pg_catalog.regclass)),
           coalesce(x.indisreplident, false)
    FROM pg_catalog.pg_constraint c
    LEFT JOIN pg_catalog.pg_index x ON x.indexrelid = c.conindid AND x.indrelid = c.conrelid
    WHERE c.conrelid = $1::pg_catalog.regclass AND c.contype IN ('p', 'u', 'c', 'x')
    ORDER BY c.contype <> 'p', c.conname)";

// Its statement up to the access method, which ours replaces.
constexpr const char* indexes_sql = R"(
    SELECT i.relname,
           pg_catalog.regexp_replace(pg_catalog.pg_get_indexdef(x.indexrelid), '^.*? USING ', ''),
           pg_catalog.strpos(pg_catalog.pg_get_indexdef(x.indexrelid), ' USING ') > 0,
           x.indisunique, x.indisreplident,
           EXISTS (SELECT FROM pg_catalog.pg_depend p
                   WHERE p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                     AND p.objid = x.indexrelid
                     AND p.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
    FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = $1::pg_catalog.regclass AND x.indisvalid
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c
                      WHERE c.conindid = x.indexrelid AND c.conrelid = x.indrelid
                        AND c.contype IN ('p', 'u', 'x'))
    ORDER BY NOT x.indisreplident, i.relname)";

void read_columns(Connection& primary, const std::string& relation, Definition& definition) {
    const Result rows = primary.query(columns_sql, {relation});
    std::string list;
    for (int i = 0; i < rows.rows(); ++i) {
        const std::string name = quote_identifier(rows.get(i, 0));
        const std::string_view generated = rows.get(i, 4), expression = rows.get(i, 5);
        const bool foreign = rows.get_bool(i, 6);
        if (generated == "v" && foreign) {
            definition.left_out.push_back("virtual column " + name);
            continue;
        }
        std::string column = fmt::format("{} {}", name, rows.get(i, 1));
        if (!rows.is_null(i, 3)) column += fmt::format(" COLLATE {}", rows.get(i, 3));
        if (!generated.empty() && !foreign)
            column += fmt::format(" GENERATED ALWAYS AS ({}) {}", expression,
                                  generated == "v" ? "VIRTUAL" : "STORED");
        else if (generated.empty() && !expression.empty() && !foreign)
            column += fmt::format(" DEFAULT {}", expression);
        else if (!expression.empty())
            definition.left_out.push_back(
                fmt::format("the {} of {}", generated.empty() ? "default" : "expression", name));
        if (rows.get_bool(i, 2)) column += " NOT NULL";
        list += (list.empty() ? "" : ", ") + column;
    }
    definition.create = fmt::format("CREATE TABLE {} ({})", place, list);
}

// As there: rows are found by it first.
Definition::Step identity(const std::string& index) {
    return {"replica identity " + index,
            fmt::format("ALTER TABLE {} REPLICA IDENTITY USING INDEX {}", place, index)};
}

void read_constraints(Connection& primary, const std::string& relation, Definition& definition) {
    const Result rows = primary.query(constraints_sql, {relation});
    for (int i = 0; i < rows.rows(); ++i) {
        const std::string name = quote_identifier(rows.get(i, 0));
        if (rows.get_bool(i, 3)) {
            definition.left_out.push_back("constraint " + name);
            continue;
        }
        definition.after.push_back(
            {"constraint " + name,
             fmt::format("ALTER TABLE {} ADD CONSTRAINT {} {}", place, name, rows.get(i, 2)),
             rows.get_bool(i, 1)});
        if (rows.get_bool(i, 4)) definition.after.push_back(identity(name));
    }
}

void read_indexes(Connection& primary, const std::string& relation, Definition& definition) {
    const Result rows = primary.query(indexes_sql, {relation});
    for (int i = 0; i < rows.rows(); ++i) {
        const std::string name = quote_identifier(rows.get(i, 0));
        // A name of the user's may hold what we look for: such an index is not taken apart.
        if (rows.get_bool(i, 5) || !rows.get_bool(i, 2) ||
            name.find("USING") != std::string::npos || name.find(place) != std::string::npos) {
            definition.left_out.push_back("index " + name);
            continue;
        }
        definition.after.push_back(
            {"index " + name,
             fmt::format("CREATE {}INDEX {} ON {} USING {}", rows.get_bool(i, 3) ? "UNIQUE " : "",
                         name, place, rows.get(i, 1)),
             rows.get_bool(i, 4)});
        if (rows.get_bool(i, 4)) definition.after.push_back(identity(name));
    }
}

}  // namespace

std::string Definition::qualified() const {
    return quote_identifier(schema) + "." + quote_identifier(name);
}

std::string Definition::staging() const {
    return quote_identifier(schema) + "." + quote_identifier(staging_name);
}

std::string on_table(const std::string& sql, const std::string& table) {
    // The first one: expressions of the user's may hold another.
    std::string out = sql;
    return out.replace(out.find(place), place.size(), table);
}

Definition read_definition(Connection& primary, const std::string& relation,
                           const std::string& prefix) {
    Definition definition;
    const Result named = primary.query(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
        "ON n.oid = c.relnamespace WHERE c.oid = $1::pg_catalog.regclass",
        {relation});
    definition.schema = named.get(0, 0);
    definition.name = named.get(0, 1);
    definition.staging_name = "cqrs_copy:" + prefix;
    read_columns(primary, relation, definition);
    read_constraints(primary, relation, definition);
    read_indexes(primary, relation, definition);
    return definition;
}

}  // namespace cqrs::copy
