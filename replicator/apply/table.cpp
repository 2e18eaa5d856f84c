#include "apply/table.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace cqrs::apply {

using postgres::Error;
using postgres::Remedy;

void Table::prepare() {
    by_name_.clear();
    writable.clear();
    for (std::uint32_t i = 0; i < columns.size(); ++i) {
        by_name_.emplace(columns[i].name, i);
        if (!columns[i].generated) writable.push_back(i);
    }
    patterns_ = std::make_shared<Patterns>();
    patterns_->list.push_back({writable, {}});
    replace_only = false;
    for (std::uint32_t i = 0; i < columns.size(); ++i)
        if (columns[i].identity_always) {
            bool in_key = false;
            for (std::uint32_t k : primary().columns) in_key |= k == i;
            replace_only |= !in_key;
        }
}

std::optional<std::uint32_t> Table::find(std::string_view column) const {
    const auto it = by_name_.find(std::string(column));
    if (it == by_name_.end()) return std::nullopt;
    return it->second;
}

std::uint32_t Table::pattern(const Field* row) const {
    const auto absent = [&](std::uint32_t c) { return row[c].is(Field::Kind::absent); };
    if (std::none_of(writable.begin(), writable.end(), absent)) return 0;
    std::string present;
    for (std::uint32_t c : writable) present += absent(c) ? '0' : '1';
    const std::lock_guard lock(patterns_->mutex);
    const auto [it, added] =
        patterns_->ids.try_emplace(present, static_cast<std::uint32_t>(patterns_->list.size()));
    if (added) {
        Pattern& p = patterns_->list.emplace_back();
        for (std::uint32_t c : writable) (absent(c) ? p.absent : p.columns).push_back(c);
    }
    return it->second;
}

const Table::Pattern& Table::pattern(std::uint32_t id) const {
    const std::lock_guard lock(patterns_->mutex);
    return patterns_->list[id];
}

const Key* Table::key_for(const Field* fields) const {
    const auto covers = [&](const Key& k) {
        for (std::uint32_t c : k.columns)
            if (!fields[c].is(Field::Kind::value)) return false;
        return true;
    };
    if (covers(primary())) return &primary();
    for (const Key& k : keys)
        if (covers(k)) return &k;
    return nullptr;
}

namespace {

// PL: the type that a domain (over a domain ...) stands for.
constexpr const char* columns_sql = R"(
    WITH RECURSIVE base(attnum, type) AS (
        SELECT attnum, atttypid FROM pg_catalog.pg_attribute
        WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT b.attnum, t.typbasetype FROM base b
        JOIN pg_catalog.pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
    )
    SELECT a.attnum, a.attname, pg_catalog.format_type(a.atttypid, -1), a.attgenerated <> '',
           a.attidentity = 'a',
           bool_or(b.type IN ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype)),
           bool_or(b.type = 'pg_catalog.uuid'::regtype),
           bool_or(b.type IN ('pg_catalog.int2'::regtype, 'pg_catalog.int4'::regtype,
                              'pg_catalog.int8'::regtype)),
           bool_or((SELECT t.typcategory = 'A' FROM pg_catalog.pg_type t WHERE t.oid = b.type))
    FROM pg_catalog.pg_attribute a JOIN base b USING (attnum)
    WHERE a.attrelid = $1::oid
    GROUP BY a.attnum, a.attname, a.atttypid, a.attgenerated, a.attidentity
    ORDER BY a.attnum)";

constexpr const char* keys_sql = R"(
    SELECT i.indexrelid, i.indimmediate, k.attnum, a.attnotnull OR i.indisprimary,
           pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(i.indkey::int2[]),
                                  pg_catalog.unnest(i.indclass::oid[]))
        WITH ORDINALITY AS k(attnum, class, n)
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                                        AND k.attnum > 0
    JOIN pg_catalog.pg_opclass c ON c.oid = k.class
    JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily AND m.amoplefttype = c.opcintype
                              AND m.amoprighttype = c.opcintype AND m.amopstrategy = 3
    JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
    JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
      AND k.n <= i.indnkeyatts
    ORDER BY i.indisreplident DESC, i.indisprimary DESC, i.indexrelid, k.n)";

// Locks nothing (pg_partition_tree() would). Partitions may have indexes and triggers of their own.
constexpr const char* independent_sql = R"(
    WITH RECURSIVE t(oid) AS (
        SELECT $1::oid UNION
        SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN t ON i.inhparent = t.oid)
    SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN t ON i.indrelid = t.oid
                       WHERE i.indisunique OR i.indisexclusion
                       GROUP BY i.indrelid HAVING count(*) > 1)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g JOIN t ON g.tgrelid = t.oid
                       WHERE g.tgenabled IN ('A', 'R'))
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite r JOIN t ON r.ev_class = t.oid
                       WHERE r.ev_enabled IN ('A', 'R')))";

}  // namespace

bool rows_are_independent(postgres::Connection& connection, const Table& table) {
    return connection.query(independent_sql, {std::to_string(table.oid)}).get_bool(0, 0);
}

Table load_table(postgres::Connection& connection, std::uint32_t oid, const std::string& prefix) {
    Table table;
    table.oid = oid;
    table.prefix = prefix;
    const std::string id = std::to_string(oid);

    const auto named = connection.query(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind = 'p' "
        "FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        {id});
    if (named.rows() == 0)
        throw Error(Remedy::stop, "42P01",
                    "the table that \"" + prefix + "\" is subscribed to is gone", "",
                    "cqrs.unsubscribe('" + prefix + "'), or create the table and subscribe again.");
    table.name = std::string(named.get(0, 0));
    table.partitioned = named.get_bool(0, 1);

    const auto columns = connection.query(columns_sql, {id});
    std::unordered_map<std::int64_t, std::uint32_t> index_of;
    for (int i = 0; i < columns.rows(); ++i) {
        Column c;
        c.name = std::string(columns.get(i, 1));
        c.quoted = postgres::quote_identifier(c.name);
        c.cast = std::string(columns.get(i, 2));
        c.generated = columns.get_bool(i, 3);
        c.identity_always = columns.get_bool(i, 4);
        c.json = columns.get_bool(i, 5);
        if (columns.get_bool(i, 6)) c.order = Column::Order::bytes;
        if (columns.get_bool(i, 7)) c.order = Column::Order::number;
        c.array = columns.get_bool(i, 8);
        index_of.emplace(columns.get_int(i, 0), static_cast<std::uint32_t>(table.columns.size()));
        table.columns.push_back(std::move(c));
    }

    const auto keys = connection.query(keys_sql, {id});
    bool deferrable = false;
    for (int i = 0; i < keys.rows();) {
        const std::string_view index = keys.get(i, 0);
        Key key;
        bool usable = keys.get_bool(i, 1);
        deferrable |= !usable;
        for (; i < keys.rows() && keys.get(i, 0) == index; ++i) {
            const auto column = index_of.find(keys.get_int(i, 2));
            usable = usable && column != index_of.end() && keys.get_bool(i, 3) &&
                     !table.columns[column->second].generated;
            if (!usable) continue;
            key.columns.push_back(column->second);
            key.equals.emplace_back(keys.get(i, 4));
        }
        if (usable) table.keys.push_back(std::move(key));
    }
    if (deferrable)
        spdlog::warn(
            "apply: {} has a deferrable unique constraint: what the applier writes is not checked "
            "against it (session_replication_role = replica switches the recheck off)",
            table.name);
    if (table.keys.empty())
        throw Error(Remedy::stop, "55000", table.name + " has no key to find rows by", "",
                    "ALTER TABLE " + table.name + " ADD PRIMARY KEY (...), as on the primary.");
    table.independent = rows_are_independent(connection, table);
    table.prepare();
    return table;
}

}  // namespace cqrs::apply
