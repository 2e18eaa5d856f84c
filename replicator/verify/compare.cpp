#include "verify/compare.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <future>
#include <map>
#include <unordered_map>

namespace cqrs::verify {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;
using postgres::Result;

namespace {

constexpr std::int64_t rows_a_bucket = 500, rows_at_once = 200'000;

std::string list(const std::vector<Column>& columns, bool keys_only) {
    std::vector<std::string> names;
    for (const Column& c : columns)
        if (c.key || !keys_only) names.push_back(c.name);
    return fmt::format("{}", fmt::join(names, ", "));
}

// Bits of md5 over the text of the columns: the same on every version and platform.
std::string hash(const std::string& columns, int digits) {
    return fmt::format("('x' || left(md5(ROW({})::text), {}))::bit({})", columns, digits,
                       digits * 4);
}

std::string bucket(const Pair& pair, std::int64_t buckets) {
    return fmt::format("{}::int & {}", hash(list(pair.columns, true), 8), buckets - 1);
}

std::string row_hash(const Pair& pair) {
    return hash(list(pair.columns, false), 16) + "::bigint";
}

// The statement on both sides at once; %T stands for the table.
std::pair<Result, Result> both(const Pair& pair, Connection& primary, Connection& replica,
                               const std::string& sql) {
    const auto with = [&](const std::string& table) {
        std::string text = sql;
        return text.replace(text.find("%T"), 2, table);
    };
    auto there =
        std::async(std::launch::async, [&] { return primary.exec(with(pair.rows_there)); });
    Result here = replica.exec(with(pair.rows_here));
    return {there.get(), std::move(here)};
}

std::int64_t power_of_two(std::int64_t at_least) {
    std::int64_t n = 16;
    while (n < at_least && n < 65536) n *= 2;
    return n;
}

}  // namespace

std::vector<Pair> load_pairs(Connection& replica) {
    const auto rows = replica.exec(
        "SELECT s.prefix, s.topic, format('%I.%I', n.nspname, c.relname), ss.state IS NOT DISTINCT "
        "FROM 'live', c.relkind = 'p' FROM cqrs.subscription s JOIN pg_class c ON c.oid = "
        "s.relation "
        "JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN cqrs.subscription_state ss ON "
        "ss.prefix = s.prefix AND ss.relation = s.relation ORDER BY s.topic, s.prefix");
    std::vector<Pair> out;
    for (int i = 0; i < rows.rows(); ++i) {
        Pair p;
        p.prefix = rows.get(i, 0);
        p.topic = rows.get(i, 1);
        p.here = rows.get(i, 2);
        p.live = rows.get_bool(i, 3);
        p.rows_here = (rows.get_bool(i, 4) ? "" : "ONLY ") + p.here;
        out.push_back(std::move(p));
    }
    return out;
}

void load_columns(Pair& pair, Connection& primary, Connection& replica) {
    const auto source = primary.query(
        "SELECT format('%I.%I', n.nspname, c.relname), c.relkind = 'p' FROM cqrs.published p "
        "JOIN pg_class c ON c.oid = p.relation JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE p.prefix = $1",
        {pair.prefix});
    pair.columns.clear();
    pair.there.clear();
    if (source.rows() == 0) return;
    pair.there = source.get(0, 0);
    pair.rows_there = (source.get_bool(0, 1) ? "" : "ONLY ") + pair.there;

    const auto there = primary.query(
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > "
        "0 AND NOT attisdropped",
        {pair.there});
    const auto here = replica.query(
        "SELECT quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attgenerated <> "
        "'', EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND "
        "a.attnum = ANY (i.indkey::int2[])) FROM pg_attribute a WHERE a.attrelid = $1::regclass "
        "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        {pair.here});
    bool keyed = false;
    for (int i = 0; i < here.rows(); ++i) {
        Column c{std::string(here.get(i, 0)), std::string(here.get(i, 1)), here.get_bool(i, 3),
                 here.get_bool(i, 2)};
        bool on_both = false;
        for (int k = 0; k < there.rows(); ++k) on_both |= there.get(k, 0) == c.name;
        if (on_both) {
            keyed |= c.key;
            pair.columns.push_back(std::move(c));
        } else if (c.key) {
            throw Error(Remedy::stop, "42703",
                        fmt::format("{}: the primary's {} has no column {} of its key", pair.here,
                                    pair.there, c.name));
        }
    }
    if (!keyed)
        throw Error(Remedy::stop, "55000", pair.here + " has no primary key to compare rows by");
}

Comparison compare(const Pair& pair, Connection& primary, Connection& replica,
                   const std::function<void(const Difference&)>& report) {
    Comparison result;
    const auto size = both(pair, primary, replica, "SELECT count(*) FROM %T");
    result.rows = size.first.get_int(0, 0);
    const std::int64_t most = std::max(result.rows, size.second.get_int(0, 0));
    const std::int64_t buckets = power_of_two(most / rows_a_bucket);

    // Count and sum of each bucket; those that are not the same on both sides remain.
    std::map<std::int64_t, std::int64_t> suspicious;  // bucket -> rows on both sides
    {
        std::map<std::int64_t, std::string> sums;
        const auto [there, here] =
            both(pair, primary, replica,
                 fmt::format("SELECT b, count(*) || ' ' || sum(h), count(*) FROM (SELECT {} AS b, "
                             "{} AS h FROM %T) r GROUP BY b",
                             bucket(pair, buckets), row_hash(pair)));
        for (int i = 0; i < there.rows(); ++i) {
            sums[there.get_int(i, 0)] = there.get(i, 1);
            suspicious[there.get_int(i, 0)] = there.get_int(i, 2);
        }
        for (int i = 0; i < here.rows(); ++i) {
            const std::int64_t b = here.get_int(i, 0);
            if (const auto it = sums.find(b); it != sums.end() && it->second == here.get(i, 1))
                suspicious.erase(b);
            else
                suspicious[b] += here.get_int(i, 2);
        }
    }
    std::vector<std::string> key_texts;
    for (const Column& c : pair.columns)
        if (c.key) key_texts.push_back(c.name + "::text");
    for (auto it = suspicious.begin(); it != suspicious.end();) {
        std::vector<std::int64_t> chunk;
        for (std::int64_t rows = 0;
             it != suspicious.end() && (chunk.empty() || rows < rows_at_once); ++it) {
            chunk.push_back(it->first);
            rows += it->second;
        }
        const auto [there, here] =
            both(pair, primary, replica,
                 fmt::format("SELECT ROW({})::text, {}, {} FROM %T WHERE ({}) = ANY "
                             "('{{{}}}'::int[])",
                             list(pair.columns, true), row_hash(pair), fmt::join(key_texts, ", "),
                             bucket(pair, buckets), fmt::join(chunk, ",")));
        const auto difference = [&](Difference::Kind kind, const Result& rows, int i) {
            Difference d{kind, {}};
            for (int k = 0; k < static_cast<int>(key_texts.size()); ++k)
                d.key.emplace_back(rows.get(i, 2 + k));
            report(d);
        };
        std::unordered_map<std::string_view, int> ours;
        for (int i = 0; i < here.rows(); ++i) ours.emplace(here.get(i, 0), i);
        for (int i = 0; i < there.rows(); ++i) {
            const auto own = ours.find(there.get(i, 0));
            if (own == ours.end()) {
                ++result.missing;
                difference(Difference::Kind::missing, there, i);
                continue;
            }
            if (here.get(own->second, 1) != there.get(i, 1)) {
                ++result.different;
                difference(Difference::Kind::different, there, i);
            }
            ours.erase(own);
        }
        for (const auto& [_, i] : ours) {
            ++result.extra;
            difference(Difference::Kind::extra, here, i);
        }
    }
    return result;
}

namespace {

// Keys as rows printed, as compare() knows them: by way of their types, whose equality may be an
// operator of any schema, or none.
std::string keys_table(const Pair& pair, const std::vector<Difference>& differences,
                       std::size_t begin, std::size_t end) {
    std::vector<std::string> arrays, columns;
    std::size_t k = 0;
    for (const Column& c : pair.columns) {
        if (!c.key) continue;
        std::vector<std::string> texts;
        for (std::size_t i = begin; i < end; ++i)
            texts.push_back(postgres::quote_literal(differences[i].key[k]));
        arrays.push_back(fmt::format("ARRAY[{}]::text[]", fmt::join(texts, ",")));
        columns.push_back(fmt::format("k{}::{}", k, c.type));
        ++k;
    }
    std::vector<std::string> names;
    for (std::size_t i = 0; i < k; ++i) names.push_back(fmt::format("k{}", i));
    return fmt::format("SELECT ROW({})::text FROM ROWS FROM (unnest({})) AS u({})",
                       fmt::join(columns, ", "), fmt::join(arrays, "), unnest("),
                       fmt::join(names, ", "));
}

}  // namespace

std::int64_t repair(const Pair& pair, Connection& primary, Connection& replica,
                    const std::vector<Difference>& differences) {
    constexpr std::size_t at_once = 10'000;
    std::vector<std::string> stored;
    for (const Column& c : pair.columns)
        if (!c.generated) stored.push_back(c.name);
    const std::string columns = fmt::format("{}", fmt::join(stored, ", "));
    std::int64_t rows = 0;
    const auto each = [&](auto&& body) {
        for (std::size_t i = 0; i < differences.size(); i += at_once)
            body(fmt::format(
                " WHERE ROW({})::text IN ({})", list(pair.columns, true),
                keys_table(pair, differences, i, std::min(differences.size(), i + at_once))));
    };
    // All of them go first: unique values may have been swapped.
    each([&](const std::string& where) {
        rows += replica.exec("DELETE FROM " + pair.rows_here + where).affected();
    });
    std::int64_t written = 0;
    each([&](const std::string& where) {
        primary.copy_out_begin(
            fmt::format("COPY (SELECT {} FROM {}{}) TO STDOUT", columns, pair.rows_there, where));
        replica.copy_begin(fmt::format("COPY {} ({}) FROM STDIN", pair.here, columns));
        std::string_view row;
        while (primary.copy_out_next(row)) replica.copy_put(row);
        written += replica.copy_end();
    });
    return std::max(rows, written);
}

}  // namespace cqrs::verify
