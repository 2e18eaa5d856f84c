#include "apply/schema.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace cqrs::apply {
namespace {

using postgres::Connection;
using postgres::Error;

struct Column {
    std::string name, type;
    bool must_be_given;  // NOT NULL without a default
    bool generated;
};

// Types by their full names: search_path is pg_catalog.
std::vector<Column> columns(Connection& connection, const std::string& relation) {
    const auto rows = connection.query(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef AND "
        "attidentity = '', attgenerated <> '' FROM pg_attribute WHERE attrelid = $1::regclass AND "
        "attnum > 0 AND NOT attisdropped ORDER BY attnum",
        {relation});
    std::vector<Column> out;
    for (int i = 0; i < rows.rows(); ++i)
        out.push_back({std::string(rows.get(i, 0)), std::string(rows.get(i, 1)),
                       rows.get_bool(i, 2), rows.get_bool(i, 3)});
    return out;
}

// "": not published.
std::string published_table(Connection& primary, const std::string& prefix) {
    const auto row = primary.query(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM cqrs.published p JOIN pg_class c ON "
        "c.oid = p.relation JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.prefix = $1",
        {prefix});
    return row.rows() ? std::string(row.get(0, 0)) : "";
}

const Column* find(const std::vector<Column>& columns, const std::string& name) {
    const auto it = std::find_if(columns.begin(), columns.end(),
                                 [&](const Column& c) { return c.name == name; });
    return it == columns.end() ? nullptr : &*it;
}

}  // namespace

std::vector<std::string> follow_schema(Connection& primary, Connection& replica,
                                       const std::string& prefix, const std::string& relation) {
    std::vector<std::string> done;
    primary.exec("BEGIN READ ONLY");
    const std::string source = published_table(primary, prefix);
    const auto there = source.empty() ? std::vector<Column>() : columns(primary, source);
    primary.exec("COMMIT");
    if (there.empty()) return done;
    const auto alter = [&](const std::string& what) {
        const std::string statement = "ALTER TABLE " + relation + " " + what;
        try {
            replica.exec(statement);
        } catch (const Error& e) {
            throw Error(
                e.remedy(), e.sqlstate(),
                fmt::format("cannot follow the primary's schema: {}: {}", statement, e.what()),
                e.detail(),
                e.sqlstate() == "42501"
                    ? "The applier's role must own the table to follow; or run the "
                      "statement as the owner, the applier goes on by itself."
                    : "Run it by hand, adapted; the applier goes on by itself.");
        }
        done.push_back(what);
    };
    const auto here = columns(replica, relation);
    for (const Column& c : there) {
        const std::string name = postgres::quote_identifier(c.name);
        const Column* own = find(here, c.name);
        if (!own)
            alter(fmt::format("ADD COLUMN {} {}", name, c.type));
        else if (own->type != c.type && !own->generated)
            alter(fmt::format("ALTER COLUMN {0} TYPE {1} USING {0}::text::{1}", name, c.type));
    }
    for (const Column& c : here)
        if (c.must_be_given && !find(there, c.name))
            alter(fmt::format("ALTER COLUMN {} DROP NOT NULL", postgres::quote_identifier(c.name)));
    return done;
}

std::string add_column_statement(const std::string& database_url, const std::string& prefix,
                                 const std::string& relation, const std::string& column) {
    std::string type = "... (its type on the primary)";
    if (!database_url.empty()) try {
            auto primary = Connection::open(database_url, "cqrs apply");
            primary.exec("BEGIN READ ONLY");
            const std::string source = published_table(primary, prefix);
            const auto there = source.empty() ? std::vector<Column>() : columns(primary, source);
            if (const Column* c = find(there, column)) type = c->type;
        } catch (const Error&) {  // the primary is away: the statement says less
        }
    return fmt::format("ALTER TABLE {} ADD COLUMN {} {};", relation,
                       postgres::quote_identifier(column), type);
}

}  // namespace cqrs::apply
