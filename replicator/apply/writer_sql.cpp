#include "apply/writer_sql.hpp"

#include <algorithm>
#include <numeric>

namespace cqrs::apply::sql {

namespace {
bool holds(const Columns& columns, std::uint32_t c) {
    return std::find(columns.begin(), columns.end(), c) != columns.end();
}
std::string param(std::size_t n) {
    return "$" + std::to_string(n);
}
}  // namespace

std::string tag_column(const Table& table) {
    std::string name = "tag";
    while (table.find(name)) name += '~';
    return postgres::quote_identifier(name);
}

std::string staging_name(const Table& table) {
    return "pg_temp.cqrs_staging_" + std::to_string(table.oid);
}

std::string create_staging(const Table& table) {
    // AS SELECT: the columns' types, without NOT NULL, defaults and generation.
    return "CREATE TEMP TABLE cqrs_staging_" + std::to_string(table.oid) +
           " ON COMMIT DELETE ROWS AS SELECT 0::pg_catalog.int8 AS " + tag_column(table) + ", " +
           list(table, table.writable) + " FROM " + table.name + " WITH NO DATA";
}

std::string types_statement(const Table& table) {
    return "cqrs_types_" + std::to_string(table.oid);
}

std::string select_types(const Table& table) {
    Columns all(table.columns.size());
    std::iota(all.begin(), all.end(), 0U);
    return "SELECT " + list(table, all) + " FROM " + table.name + " LIMIT 0";
}

std::string list(const Table& table, const Columns& columns, const char* qualifier) {
    std::string out;
    for (std::uint32_t c : columns) {
        if (!out.empty()) out += ", ";
        out += qualifier;
        out += table.columns[c].quoted;
    }
    return out;
}

std::string match(const Table& table, const Key& key) {
    std::string out;
    for (std::size_t i = 0; i < key.columns.size(); ++i) {
        const std::string& name = table.columns[key.columns[i]].quoted;
        if (i) out += " AND ";
        out += "t." + name + " " + key.equals[i] + " s." + name;
    }
    return out;
}

std::string match_params(const Table& table, const Key& key, std::size_t first) {
    std::string out;
    for (std::size_t i = 0; i < key.columns.size(); ++i) {
        const Column& c = table.columns[key.columns[i]];
        if (i) out += " AND ";
        out += "t." + c.quoted + " " + key.equals[i] + " " + param(first + i) + "::" + c.cast;
    }
    return out;
}

Columns to_set(const Table& table, const Columns& columns, const Key& key) {
    Columns set;
    for (std::uint32_t c : columns)
        if (!holds(key.columns, c) && !table.columns[c].identity_always) set.push_back(c);
    // A table of key columns alone: touch one, so that a missing row shows.
    if (set.empty())
        for (std::uint32_t c : columns)
            if (!table.columns[c].identity_always) return {c};
    return set;
}

std::string delete_staged(const Table& table, const std::string& tag_condition) {
    return "DELETE FROM " + table.rows() + " AS t USING " + staging_name(table) + " AS s WHERE " +
           match(table, table.primary()) +
           (tag_condition.empty() ? "" : " AND s." + tag_column(table) + tag_condition);
}

std::string delete_listed(const Table& table) {
    const Key& key = table.primary();
    const Column& c = table.columns[key.columns[0]];
    return "DELETE FROM " + table.rows() + " AS t WHERE t." + c.quoted + " " + key.equals[0] +
           " ANY ($1::" + c.cast + "[])";
}

std::string update_staged(const Table& table, const Columns& set, std::int64_t tag) {
    std::string assignments;
    for (std::uint32_t c : set) {
        const std::string& name = table.columns[c].quoted;
        assignments += (assignments.empty() ? "" : ", ") + name + " = s." + name;
    }
    return "UPDATE " + table.rows() + " AS t SET " + assignments + " FROM " + staging_name(table) +
           " AS s WHERE " + match(table, table.primary()) + " AND s." + tag_column(table) + " = " +
           std::to_string(tag);
}

std::string fill_staged(const Table& table, const Columns& absent, std::int64_t tag) {
    std::string assignments;
    for (std::uint32_t c : absent) {
        const std::string& name = table.columns[c].quoted;
        assignments += (assignments.empty() ? "" : ", ") + name + " = t." + name;
    }
    return "UPDATE " + staging_name(table) + " AS s SET " + assignments + " FROM " + table.rows() +
           " AS t WHERE " + match(table, table.primary()) + " AND s." + tag_column(table) + " = " +
           std::to_string(tag);
}

std::string insert_staged(const Table& table, const Columns& columns, std::int64_t tag) {
    return "INSERT INTO " + table.name + " (" + list(table, columns) +
           ") OVERRIDING SYSTEM VALUE SELECT " + list(table, columns, "s.") + " FROM " +
           staging_name(table) + " AS s WHERE s." + tag_column(table) + " = " + std::to_string(tag);
}

std::string insert_new(const Table& table, const Columns& columns) {
    std::string values;
    for (std::size_t i = 0; i < columns.size(); ++i) values += (i ? ", " : "") + param(i + 1);
    return "INSERT INTO " + table.name + " (" + list(table, columns) +
           ") OVERRIDING SYSTEM VALUE VALUES (" + values + ")";
}

std::string insert_one(const Table& table, const Columns& columns) {
    return insert_new(table, columns) + " ON CONFLICT (" + list(table, table.primary().columns) +
           ") DO NOTHING";
}

std::string update_one(const Table& table, const Columns& set, const Key& key) {
    std::string assignments;
    for (std::size_t i = 0; i < set.size(); ++i)
        assignments += (i ? ", " : "") + table.columns[set[i]].quoted + " = " + param(i + 1);
    return "UPDATE " + table.rows() + " AS t SET " + assignments + " WHERE " +
           match_params(table, key, set.size() + 1);
}

std::string delete_one(const Table& table, const Key& key) {
    return "DELETE FROM " + table.rows() + " AS t WHERE " + match_params(table, key, 1);
}

std::string move_one(const Table& table, const Columns& present, const Columns& absent,
                     const Key& key) {
    std::string values;
    for (std::size_t i = 0; i < present.size(); ++i)
        values += (i ? ", " : "") + param(i + 1) + "::" + table.columns[present[i]].cast;
    Columns all = present;
    all.insert(all.end(), absent.begin(), absent.end());
    return "WITH old AS (DELETE FROM " + table.rows() + " AS t WHERE " +
           match_params(table, key, present.size() + 1) + " RETURNING *) INSERT INTO " +
           table.name + " (" + list(table, all) + ") OVERRIDING SYSTEM VALUE SELECT " + values +
           (absent.empty() ? "" : ", " + list(table, absent, "old.")) + " FROM old";
}

std::string surely(const std::string& statement) {
    // The server's log has the ERROR, so it is one that says what happens. It depends on the count,
    // or the planner would raise it.
    return "WITH row AS (" + statement +
           " RETURNING 1) SELECT CASE WHEN count(*) = 0 THEN CAST('cqrs: ' || count(*) || "
           "' rows found, so this is written in another way' AS int) END FROM row";
}

}  // namespace cqrs::apply::sql
