#include "apply/net_effect.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_map>

namespace cqrs::apply {

namespace {

// One column: its bytes as they are. Several: each preceded by its length.
std::string_view key_of(const Table& table, const Field* row, Arena& arena) {
    const auto& columns = table.primary().columns;
    if (columns.size() == 1) return row[columns[0]].text();
    std::size_t size = 0;
    for (std::uint32_t c : columns) size += sizeof(std::uint32_t) + row[c].size;
    char* start = arena.bytes(size);
    char* to = start;
    for (std::uint32_t c : columns) {
        std::memcpy(to, &row[c].size, sizeof(std::uint32_t));
        to += sizeof(std::uint32_t);
        if (row[c].size) std::memcpy(to, row[c].data, row[c].size);
        to += row[c].size;
    }
    return {start, size};
}

// The rows of one table that the step has touched.
class Rows {
  public:
    Rows(const Table& table, Arena& arena, std::size_t expected) : arena_(arena) {
        change_.table = &table;
        states_.reserve(expected);
    }

    void add(const Event& e) {
        if (e.verb == Verb::truncate) {
            states_.clear();
            index_.clear();
            indexed_ = 0;
            only_creates_ = false;
            change_.truncate = true;
            return;
        }
        // Rows that were only ever created cannot meet each other: no lookup.
        if (e.verb == Verb::create && only_creates_) {
            states_.push_back({e.row, e.pattern, State::created, false});
            return;
        }
        if (only_creates_) index_.reserve(states_.capacity());
        only_creates_ = false;
        catch_up();
        const auto [it, added] = index_.try_emplace(key_of(*change_.table, e.row, arena_),
                                                    static_cast<std::uint32_t>(states_.size()));
        if (added) {
            states_.push_back({e.row, e.pattern, first(e.verb), e.verb == Verb::remove});
            indexed_ = states_.size();
        } else {
            merge(states_[it->second], e);
        }
    }

    TableChange finish() {
        if (only_creates_) {
            change_.inserts.reserve(states_.size());
            for (const Entry& s : states_) change_.inserts.push_back({s.row, s.pattern});
            return std::move(change_);
        }
        for (const Entry& s : states_) {
            if (s.was_there && (s.state == State::gone || s.state == State::created))
                change_.deletes.push_back(s.row);
            if (s.state == State::created) change_.inserts.push_back({s.row, s.pattern});
            if (s.state == State::updated) change_.updates.push_back({s.row, s.pattern});
        }
        return std::move(change_);
    }

  private:
    enum class State : std::uint8_t { created, updated, gone };
    struct Entry {
        const Field* row;
        std::uint32_t pattern;
        State state;
        bool was_there;  // before the step: has to be deleted when it goes
    };

    static State first(Verb verb) {
        return verb == Verb::create   ? State::created
               : verb == Verb::update ? State::updated
                                      : State::gone;
    }

    void catch_up() {
        for (; indexed_ < states_.size(); ++indexed_) {
            const auto [it, added] =
                index_.try_emplace(key_of(*change_.table, states_[indexed_].row, arena_),
                                   static_cast<std::uint32_t>(indexed_));
            if (!added) change_.irregular = true;  // created twice
        }
    }

    void merge(Entry& s, const Event& e) {
        switch (e.verb) {
            case Verb::create:
                if (s.state != State::gone) change_.irregular = true;
                s.row = e.row;
                s.pattern = e.pattern;
                s.state = State::created;
                return;
            case Verb::update:
                if (s.state == State::gone) {
                    change_.irregular = true;
                    return;
                }
                merge_row(s, e);
                return;
            default:  // a delete
                if (s.state == State::gone) change_.irregular = true;
                if (s.state == State::updated) s.was_there = true;
                s.row = e.row;
                s.state = State::gone;
                return;
        }
    }

    // Columns that the later event leaves out keep what the earlier one gave them.
    void merge_row(Entry& s, const Event& e) {
        const Table& table = *change_.table;
        if (e.pattern == 0 || e.pattern == s.pattern) {
            s.row = e.row;
            s.pattern = e.pattern;
            return;
        }
        const std::size_t n = table.columns.size();
        Field* merged = arena_.array<Field>(n);
        for (std::size_t i = 0; i < n; ++i)
            merged[i] = e.row[i].is(Field::Kind::absent) ? s.row[i] : e.row[i];
        s.row = merged;
        s.pattern = table.pattern(merged);
    }

    TableChange change_;
    Arena& arena_;
    std::vector<Entry> states_;
    std::unordered_map<std::string_view, std::uint32_t> index_;
    std::size_t indexed_ = 0;
    bool only_creates_ = true;
};

}  // namespace

bool changes_key(const Event& e) {
    if (e.verb == Verb::remove) {
        // The row can only be found by another key than the one in use.
        for (std::uint32_t c : e.table->primary().columns)
            if (!e.row[c].is(Field::Kind::value)) return true;
        return false;
    }
    if (e.verb != Verb::update || !e.old) return false;
    for (std::uint32_t c : e.table->primary().columns)
        if (!(e.old[c] == e.row[c])) return true;
    return false;
}

std::vector<Step> net_effect(std::span<const Event* const> events, Arena& arena) {
    std::vector<Step> steps;
    std::vector<std::unique_ptr<Rows>> tables;
    std::unordered_map<const Table*, Rows*> by_table;
    std::size_t begin = 0;
    const auto flush = [&](std::size_t end) {
        if (!tables.empty()) {
            Step step;
            step.begin = begin;
            step.end = end;
            for (auto& rows : tables) step.tables.push_back(rows->finish());
            steps.push_back(std::move(step));
        }
        tables.clear();
        by_table.clear();
        begin = end;
    };
    for (std::size_t i = 0; i < events.size(); ++i) {
        const Event& e = *events[i];
        if (!e.table) continue;
        if (e.verb != Verb::truncate && changes_key(e)) {
            flush(i);
            Step step;
            step.alone = &e;
            step.begin = i;
            step.end = begin = i + 1;
            steps.push_back(std::move(step));
            continue;
        }
        Rows*& rows = by_table[e.table];
        if (!rows)
            rows = tables.emplace_back(std::make_unique<Rows>(*e.table, arena, events.size() - i))
                       .get();
        rows->add(e);
    }
    flush(events.size());
    return steps;
}

}  // namespace cqrs::apply
