#include "apply/writer.hpp"

#include <algorithm>
#include <utility>

#include "apply/copy_text.hpp"
#include "apply/key_order.hpp"
#include "apply/writer_sql.hpp"

namespace cqrs::apply {

using postgres::Error;

namespace {

// Rows of one pattern lie together, by their key; `body` is called once for each pattern.
template <typename Body>
void by_pattern(const Table& table, std::vector<NetRow> rows, Body body) {
    const auto before = [](const NetRow& a, const NetRow& b) { return a.pattern < b.pattern; };
    if (!std::is_sorted(rows.begin(), rows.end(), before))
        std::stable_sort(rows.begin(), rows.end(), before);
    for (std::size_t i = 0; i < rows.size();) {
        std::size_t end = i;
        while (end < rows.size() && rows[end].pattern == rows[i].pattern) ++end;
        const std::span<NetRow> same(rows.data() + i, end - i);
        sort_by_key(table, same);
        body(same.front().pattern, std::span<const NetRow>(same));
        i = end;
    }
}

std::vector<NetRow> keys_of(const Table& table, const std::vector<const Field*>& deletes) {
    std::vector<NetRow> rows;
    rows.reserve(deletes.size());
    for (const Field* f : deletes) rows.push_back({f, 0});
    sort_by_key(table, rows);
    return rows;
}

// `body` executes the table's types_statement, which is refused once they are others.
template <typename Body>
void if_unaltered(const Table& table, Body body) {
    try {
        body();
    } catch (const Error& e) {
        if (e.sqlstate() != "0A000") throw;
        throw Restart(table.name + " was altered: " + e.what());
    }
}

constexpr std::int64_t deleted_tag = -1;
constexpr std::size_t most_prepared = 200;

}  // namespace

void Writer::prepare(std::span<const Event* const> events, Mode mode) {
    if (mode == Mode::one_by_one) return;
    const Table *known = nullptr, *staged = nullptr;
    for (const Event* e : events) {
        if (!e->table || e->verb == Verb::truncate) continue;
        if (e->table != known) learn_forms(*e->table);
        known = e->table;
        if (e->table == staged || (mode == Mode::set_wise && e->verb == Verb::create)) continue;
        staged = e->table;
        if (staging_.contains(staged->oid)) continue;
        connection_.exec(sql::create_staging(*staged));
        staging_.insert(staged->oid);
    }
}

// What the columns' types are as the server sees them: a statement that is refused once they are
// others, so that bytes made for one type are never read as another's.
void Writer::learn_forms(const Table& table) {
    if (forms_.contains(table.oid)) return;
    const std::string name = sql::types_statement(table);
    connection_.prepare(name, sql::select_types(table));
    std::vector<BinaryForm> forms;
    for (const std::uint32_t type : connection_.column_types(name))
        forms.push_back(binary_form(type));
    forms_.emplace(table.oid, std::move(forms));
}

// A prepared statement keeps the types of its parameters when a column's type is changed: what it
// is given would be read as what was there. Once a transaction; the lock that it takes does the
// rest.
void Writer::check_types(const Table& table) {
    if (!checked_.insert(table.oid).second) return;
    learn_forms(table);
    if_unaltered(table, [&] { connection_.exec("EXECUTE " + sql::types_statement(table)); });
}

void Writer::write(std::span<const Event* const> events, Mode mode) {
    if (mode == Mode::one_by_one) {
        for (const Event* e : events)
            if (e->table) one(*e, mode);
        return;
    }
    arena_.clear();
    for (const Step& step : net_effect(events, arena_)) {
        if (step.alone) one(*step.alone, mode);
        for (const TableChange& change : step.tables) {
            if (change.irregular)
                throw TryNext("a row was changed in an order that cannot have been");
            if (change.truncate) connection_.exec("DELETE FROM " + change.table->rows());
            // What UPDATE cannot express goes the other way for this table alone.
            const bool whole = change.table->replace_only && !change.updates.empty();
            if (mode == Mode::replace || whole)
                replace(change);
            else
                set_wise(change);
        }
    }
}

Writer::Conflicts Writer::end_transaction() {
    dirty_.clear();  // ON COMMIT DELETE ROWS
    checked_.clear();
    arena_.clear();
    return std::exchange(conflicts_, {});
}

void Writer::clear_staging(const Table& table) {
    if (!dirty_.insert(table.oid).second) connection_.exec("TRUNCATE " + sql::staging_name(table));
}

void Writer::copy(const Table& table, std::optional<std::int64_t> tag,
                  const std::vector<std::uint32_t>& columns, std::span<const NetRow> rows) {
    const std::vector<BinaryForm>& forms = forms_.at(table.oid);
    const bool binary = !forms.empty() &&
                        std::none_of(columns.begin(), columns.end(),
                                     [&](std::uint32_t c) { return forms[c] == BinaryForm::none; });
    std::string statement = "COPY ";
    statement +=
        tag ? sql::staging_name(table) + " (" + sql::tag_column(table) + ", " : table.name + " (";
    statement += sql::list(table, columns) + ") FROM STDIN";
    if (binary)
        statement =
            "EXECUTE " + sql::types_statement(table) + "; " + statement + " (FORMAT binary)";
    if (binary)
        if_unaltered(table, [&] { connection_.copy_begin(statement); });
    else
        connection_.copy_begin(statement);
    buffer_.clear();
    if (binary)
        copy_binary(table, tag, columns, rows);
    else
        copy_text(tag, columns, rows);
    connection_.copy_put(buffer_);
    connection_.copy_end();
}

void Writer::copy_text(std::optional<std::int64_t> tag, const std::vector<std::uint32_t>& columns,
                       std::span<const NetRow> rows) {
    const std::string first = tag ? std::to_string(*tag) + '\t' : std::string();
    for (const NetRow& r : rows) {
        buffer_ += first;
        for (std::uint32_t c : columns) {
            append_copy_field(buffer_, r.row[c]);
            buffer_ += '\t';
        }
        buffer_.back() = '\n';
        put_full_buffer();
    }
}

void Writer::copy_binary(const Table& table, std::optional<std::int64_t> tag,
                         const std::vector<std::uint32_t>& columns, std::span<const NetRow> rows) {
    std::vector<BinaryForm>& forms = forms_.at(table.oid);
    const auto fields = static_cast<std::int16_t>(columns.size() + (tag ? 1 : 0));
    append_binary_header(buffer_);
    // In the order of their keys rows lie anywhere in the messages: out of every cache.
    constexpr std::size_t far = 8, near = 4;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (i + far < rows.size()) __builtin_prefetch(rows[i + far].row);
        if (i + near < rows.size() && !columns.empty())
            __builtin_prefetch(rows[i + near].row[columns[0]].data);
        const NetRow& r = rows[i];
        append_binary_int2(buffer_, fields);
        if (tag) append_binary_int8(buffer_, *tag);
        for (std::uint32_t c : columns) {
            if (!r.row[c].is(Field::Kind::value)) {
                append_binary_null(buffer_);
            } else if (!append_binary(buffer_, forms[c], r.row[c].text())) {
                forms.clear();
                connection_.copy_abort("a value is to be read by the server");
                throw TryNext("a value of " + table.columns[c].quoted +
                              " is not as its type is printed");
            }
        }
        put_full_buffer();
    }
    append_binary_trailer(buffer_);
}

void Writer::put_full_buffer() {
    if (buffer_.size() < std::size_t{64} * 1024) return;
    connection_.copy_put(buffer_);
    buffer_.clear();
}

void Writer::set_wise(const TableChange& change) {
    const Table& table = *change.table;
    const auto missing = [&](const char* kind, std::size_t expected, std::int64_t found) {
        if (found < static_cast<std::int64_t>(expected))
            conflicts_[kind] += static_cast<std::int64_t>(expected) - found;
    };
    const auto& key = table.primary().columns;
    const bool by_array = key.size() == 1 && !table.columns[key[0]].array;
    if ((!change.deletes.empty() && !by_array) || !change.updates.empty()) clear_staging(table);
    if (!change.deletes.empty()) {
        const std::vector<NetRow> rows = keys_of(table, change.deletes);
        missing("delete_missing", rows.size(),
                by_array ? delete_listed(table, rows) : delete_staged(table, rows));
    }
    by_pattern(table, change.updates, [&](std::uint32_t pattern, std::span<const NetRow> rows) {
        const auto& columns = table.pattern(pattern).columns;
        const auto set = sql::to_set(table, columns, table.primary());
        if (set.empty()) return;
        copy(table, pattern, columns, rows);
        if (connection_.exec(sql::update_staged(table, set, pattern)).affected() <
            static_cast<std::int64_t>(rows.size()))
            throw TryNext("an update's row is missing");
    });
    by_pattern(table, change.inserts, [&](std::uint32_t pattern, std::span<const NetRow> rows) {
        copy(table, std::nullopt, table.pattern(pattern).columns, rows);
    });
}

std::int64_t Writer::delete_staged(const Table& table, std::span<const NetRow> rows) {
    copy(table, deleted_tag, table.primary().columns, rows);
    return connection_.exec(sql::delete_staged(table, " = -1")).affected();
}

// A key of one column needs no staging table.
std::int64_t Writer::delete_listed(const Table& table, std::span<const NetRow> rows) {
    const std::uint32_t column = table.primary().columns[0];
    check_types(table);
    const std::string& name = prepared(table, "d*", [&] { return sql::delete_listed(table); });
    // The server compares the elements' type with the statement's.
    if (const std::uint32_t type = key_type(table.columns[column].cast)) {
        buffer_.clear();
        append_binary_array(buffer_, type, rows.size());
        if (std::all_of(rows.begin(), rows.end(), [&](const NetRow& r) {
                return append_binary(buffer_, binary_form(type), r.row[column].text());
            }))
            return connection_.execute_binary(name, buffer_).affected();
    }
    buffer_ = "{";
    for (const NetRow& r : rows) {
        if (buffer_.size() > 1) buffer_ += ',';
        append_array_element(buffer_, r.row[column].text());
    }
    buffer_ += '}';
    return connection_.execute(name, {buffer_}).affected();
}

void Writer::replace(const TableChange& change) {
    const Table& table = *change.table;
    clear_staging(table);
    copy(table, deleted_tag, table.primary().columns, keys_of(table, change.deletes));
    const auto update_tag = [](std::uint32_t pattern) { return std::int64_t{2} * pattern; };
    const auto insert_tag = [](std::uint32_t pattern) { return std::int64_t{2} * pattern + 1; };

    by_pattern(table, change.updates, [&](std::uint32_t pattern, std::span<const NetRow> rows) {
        const Table::Pattern p = table.pattern(pattern);
        copy(table, update_tag(pattern), p.columns, rows);
        if (p.absent.empty()) return;
        const std::int64_t filled =
            connection_.exec(sql::fill_staged(table, p.absent, update_tag(pattern))).affected();
        if (filled < static_cast<std::int64_t>(rows.size()))
            throw NeedCopy("an update without all columns found no row in " + table.name,
                           {table.prefix});
    });
    by_pattern(table, change.inserts, [&](std::uint32_t pattern, std::span<const NetRow> rows) {
        copy(table, insert_tag(pattern), table.pattern(pattern).columns, rows);
    });

    const auto expected = static_cast<std::int64_t>(change.deletes.size() + change.updates.size());
    const std::int64_t found = connection_.exec(sql::delete_staged(table, "")).affected();
    if (found > expected) conflicts_["insert_exists"] += found - expected;
    if (found < expected) conflicts_["row_missing"] += expected - found;

    by_pattern(table, change.updates, [&](std::uint32_t pattern, std::span<const NetRow>) {
        connection_.exec(sql::insert_staged(table, table.writable, update_tag(pattern)));
    });
    by_pattern(table, change.inserts, [&](std::uint32_t pattern, std::span<const NetRow>) {
        connection_.exec(
            sql::insert_staged(table, table.pattern(pattern).columns, insert_tag(pattern)));
    });
}

const std::string& Writer::prepared(const Table& table, const std::string& id,
                                    const std::function<std::string()>& text) {
    const std::string key = std::to_string(table.oid) + " " + id;
    auto it = prepared_.find(key);
    if (it == prepared_.end()) {
        learn_forms(table);  // before it, or what changes in between would not be noticed
        make_room(1);
        const std::string name = "w" + std::to_string(prepared_.size());
        connection_.prepare(name, text());
        it = prepared_.emplace(key, name).first;
    }
    return it->second;
}

void Writer::make_room(std::size_t statements) {
    if (prepared_.size() + statements <= most_prepared) return;
    for (const auto& [_, old] : prepared_) connection_.exec("DEALLOCATE " + old);
    prepared_.clear();
}

std::int64_t Writer::execute(const Table& table, const Statement& s) {
    check_types(table);
    return connection_.execute(prepared(table, s.id, s.sql), s.params).affected();
}

}  // namespace cqrs::apply
