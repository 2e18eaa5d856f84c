#include "copy/identity.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace cqrs::copy {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

namespace {

constexpr const char* keys_sql = R"(
    SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attname),
           i.indisreplident AND c.relreplident = 'i'
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid
     AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    WHERE i.indrelid = $1::pg_catalog.regclass AND i.indisunique AND i.indimmediate
      AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND {}
    GROUP BY i.indexrelid, c.oid HAVING {}
    ORDER BY i.indisreplident DESC, i.indisprimary DESC, i.indexrelid)";

}  // namespace

Identity identity_of(Connection& primary, const std::string& relation) {
    const auto rows = primary.query(fmt::format(keys_sql,
                                                "CASE c.relreplident WHEN 'd' THEN i.indisprimary "
                                                "WHEN 'i' THEN i.indisreplident ELSE false END",
                                                "true"),
                                    {relation});
    if (rows.rows() == 0) return {};
    return {std::string(rows.get(0, 0)), !rows.get_bool(0, 1)};
}

std::vector<std::string> keys_of(Connection& replica, const std::string& relation) {
    const auto rows = replica.query(
        fmt::format(keys_sql, "true", "pg_catalog.bool_and(a.attnotnull AND a.attgenerated = '')"),
        {relation});
    std::vector<std::string> keys;
    for (int i = 0; i < rows.rows(); ++i) keys.emplace_back(rows.get(i, 0));
    return keys;
}

bool finds(const std::vector<std::string>& keys, const Identity& identity) {
    if (identity.columns.empty()) return true;
    if (identity.in_use) return !keys.empty() && keys.front() == identity.columns;
    return std::find(keys.begin(), keys.end(), identity.columns) != keys.end();
}

std::string identity_statement(const Identity& identity, const std::string& relation) {
    if (!identity.in_use)
        return fmt::format("ALTER TABLE {} ADD UNIQUE ({});", relation, identity.columns);
    return fmt::format(
        "CREATE UNIQUE INDEX cqrs_identity ON {0} ({1}); "
        "ALTER TABLE {0} REPLICA IDENTITY USING INDEX cqrs_identity;",
        relation, identity.columns);
}

void require_identity(const Identity& identity, const std::vector<std::string>& keys,
                      const std::string& prefix, const std::string& relation) {
    if (finds(keys, identity)) return;
    throw Error(Remedy::stop, "55000",
                fmt::format("table {} of the replica does not find rows by ({})", relation,
                            identity.columns),
                fmt::format("That is the replica identity of the primary's table of prefix {}: its "
                            "UPDATEs and DELETEs name rows by it.",
                            prefix),
                "On the replica: " + identity_statement(identity, relation));
}

}  // namespace cqrs::copy
