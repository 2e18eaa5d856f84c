// Writer: rows one by one, in the original order.
#include <utility>

#include "apply/writer.hpp"
#include "apply/writer_sql.hpp"

namespace cqrs::apply {

using postgres::Error;
using postgres::Param;
using postgres::Remedy;

namespace {

Param param(const Field& f) {
    if (f.is(Field::Kind::value)) return f.text();
    return std::nullopt;
}

std::vector<Param> params(const Field* row, const std::vector<std::uint32_t>& columns) {
    std::vector<Param> out;
    for (std::uint32_t c : columns) out.push_back(param(row[c]));
    return out;
}

std::string key_id(const Table& table, const Key& key) {
    return std::to_string(&key - table.keys.data());
}

}  // namespace

void Writer::one(const Event& e, Mode mode) {
    const Table& table = *e.table;
    try {
        switch (e.verb) {
            case Verb::create:
                return insert_one(e);
            case Verb::update: {
                const Key* key = e.old ? table.key_for(e.old) : nullptr;
                if (key && changes_key(e)) return move_one(e, *key, mode);
                return update_one(e, *table.key_for(e.row), e.row);
            }
            case Verb::remove:
                if (execute(table, deletion(table, *table.key_for(e.row), e.row)) == 0)
                    ++conflicts_["delete_missing"];
                return;
            case Verb::truncate:
                connection_.exec("DELETE FROM " + table.rows());
                return;
            default:
                return;
        }
    } catch (const Error& error) {
        if (error.remedy() != Remedy::stop) throw;
        throw WriteError(e, error);
    }
}

std::optional<Writer::Statement> Writer::update(const Event& e, const Key& key,
                                                const Field* names) {
    const Table& table = *e.table;
    auto set = sql::to_set(table, table.pattern(e.pattern).columns, key);
    if (set.empty()) return std::nullopt;
    auto values = params(e.row, set);
    for (std::uint32_t c : key.columns) values.push_back(param(names[c]));
    return Statement{
        "u" + std::to_string(e.pattern) + "." + key_id(table, key), std::move(values),
        [&table, &key, set = std::move(set)] { return sql::update_one(table, set, key); }};
}

Writer::Statement Writer::deletion(const Table& table, const Key& key, const Field* names) {
    return {"d" + key_id(table, key), params(names, key.columns),
            [&] { return sql::delete_one(table, key); }};
}

void Writer::insert_one(const Event& e) {
    const Table& table = *e.table;
    const auto& columns = table.pattern(e.pattern).columns;
    if (execute(table, {"i" + std::to_string(e.pattern), params(e.row, columns),
                        [&] { return sql::insert_one(table, columns); }}) == 1)
        return;
    // It is there already: it becomes what the primary says.
    ++conflicts_["insert_exists"];
    if (table.replace_only)
        replace_one(e, table.primary(), e.row);
    else if (const auto s = update(e, table.primary(), e.row))
        execute(table, *s);
}

void Writer::update_one(const Event& e, const Key& key, const Field* names) {
    const Table& table = *e.table;
    if (table.replace_only) {
        if (replace_one(e, key, names) > 0) return;
    } else {
        const auto s = update(e, key, names);
        if (!s || execute(table, *s) > 0) return;
    }
    if (e.pattern != 0)
        throw NeedCopy("an update without all columns found no row in " + table.name,
                       {table.prefix});
    ++conflicts_["update_missing"];
    insert_one(e);
}

// The key changes: the row is found by the old one and keeps what the event leaves out.
void Writer::move_one(const Event& e, const Key& key, Mode mode) {
    const Table& table = *e.table;
    const Table::Pattern p = table.pattern(e.pattern);
    if (mode == Mode::replace) {
        // Something sits where the row is to go, or UPDATE was refused for another reason.
        const Key* target = table.key_for(e.row);
        conflicts_["insert_exists"] += execute(table, deletion(table, *target, e.row));
    }
    bool settable = true;
    for (std::uint32_t c : p.columns) settable &= !table.columns[c].identity_always;
    std::int64_t moved = 0;
    if (settable) {
        auto values = params(e.row, p.columns);
        for (std::uint32_t c : key.columns) values.push_back(param(e.old[c]));
        moved = execute(
            table, {"k" + std::to_string(e.pattern) + "." + key_id(table, key), std::move(values),
                    [&] { return sql::update_one(table, p.columns, key); }});
    } else {
        moved = replace_one(e, key, e.old);
    }
    if (moved > 0) return;
    if (e.pattern != 0)
        throw NeedCopy("a change of key without all columns found no row in " + table.name,
                       {table.prefix});
    ++conflicts_["update_missing"];
    insert_one(e);
}

// What UPDATE cannot SET: the row named by `names` goes, and comes back as the event has it with
// what the event leaves out. 0: there is none.
std::int64_t Writer::replace_one(const Event& e, const Key& key, const Field* names) {
    const Table& table = *e.table;
    const Table::Pattern p = table.pattern(e.pattern);
    auto values = params(e.row, p.columns);
    for (std::uint32_t c : key.columns) values.push_back(param(names[c]));
    return execute(table,
                   {"m" + std::to_string(e.pattern) + "." + key_id(table, key), std::move(values),
                    [&] { return sql::move_one(table, p.columns, p.absent, key); }});
}

std::optional<std::vector<postgres::Step>> Writer::steps(std::span<const Event* const> events) {
    make_room(events.size());  // not between them: names are used again
    std::vector<postgres::Step> out;
    const auto add = [&](const Table& table, const Statement& s) {
        out.push_back({prepared(table, s.id, s.sql), {s.params.begin(), s.params.end()}});
    };
    std::set<std::uint32_t> seen;  // tables
    const auto surely = [](Statement s) {
        return Statement{s.id + "!", s.params, [sql = s.sql] { return sql::surely(sql()); }};
    };
    for (const Event* e : events) {
        if (!e->table) continue;
        const Table& table = *e->table;
        if (seen.insert(table.oid).second) {
            learn_forms(table);
            out.push_back({sql::types_statement(table), {}});
        }
        if (e->verb == Verb::create) {
            const auto& columns = table.pattern(e->pattern).columns;
            add(table, {"n" + std::to_string(e->pattern), params(e->row, columns),
                        [&] { return sql::insert_new(table, columns); }});
        } else if (e->verb == Verb::update) {
            if (table.replace_only || (e->old && changes_key(*e))) return std::nullopt;
            if (const auto s = update(*e, *table.key_for(e->row), e->row)) add(table, surely(*s));
        } else if (e->verb == Verb::remove) {
            add(table, surely(deletion(table, *table.key_for(e->row), e->row)));
        } else {
            return std::nullopt;
        }
    }
    return out;
}

}  // namespace cqrs::apply
