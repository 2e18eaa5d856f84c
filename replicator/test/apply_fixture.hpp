// Tables and events for tests of the applier, without a server.
#pragma once

#include <deque>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apply/event.hpp"
#include "apply/key_set.hpp"
#include "apply/table.hpp"

namespace cqrs::apply::test {

inline Table make_table(const std::string& prefix, const std::vector<std::string>& columns,
                        const std::vector<std::uint32_t>& key) {
    Table t;
    t.oid = 1;
    t.prefix = prefix;
    t.name = "public." + prefix;
    for (const std::string& name : columns) {
        Column c;
        c.name = name;
        c.quoted = "\"" + name + "\"";
        c.cast = "text";
        t.columns.push_back(c);
    }
    Key k;
    k.columns = key;
    k.equals.assign(key.size(), "OPERATOR(\"pg_catalog\".=)");
    t.keys.push_back(k);
    t.prepare();
    return t;
}

// Owns what its events point to.
class Events {
  public:
    explicit Events(const Table& table) : table_(table) {}

    // A value per column; nullopt: absent; "NULL": null.
    using Row = std::vector<std::optional<std::string>>;

    Event& add(Verb verb, const Row& row, const std::optional<Row>& old = std::nullopt) {
        Event e;
        e.sequence = static_cast<std::int64_t>(events_.size()) + 1;
        e.lsn = 100;
        e.table = &table_;
        e.verb = verb;
        e.row = fields(row);
        if (old) e.old = fields(*old);
        if (verb != Verb::truncate) {
            e.pattern = table_.pattern(e.row);
            e.key = key_hash(table_, e.row);
        }
        events_.push_back(e);
        return events_.back();
    }
    std::vector<const Event*> all() const {
        std::vector<const Event*> out;
        for (const Event& e : events_) out.push_back(&e);
        return out;
    }

  private:
    const Field* fields(const Row& row) {
        auto& to = rows_.emplace_back(table_.columns.size());
        for (std::size_t i = 0; i < row.size(); ++i)
            if (row[i] && *row[i] == "NULL")
                to[i] = Field::null();
            else if (row[i])
                to[i] = Field::of(strings_.emplace_back(*row[i]));
        return to.data();
    }
    const Table& table_;
    std::deque<Event> events_;
    std::deque<std::vector<Field>> rows_;
    std::deque<std::string> strings_;
};

inline std::string show(const Table& table, const Field* row) {
    std::string out;
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
        if (i) out += ' ';
        out += row[i].is(Field::Kind::absent) ? "-"
               : row[i].is(Field::Kind::null) ? "NULL"
                                              : std::string(row[i].text());
    }
    return out;
}

}  // namespace cqrs::apply::test
