#include "apply/net_effect.hpp"

#include <algorithm>
#include <memory>
#include <unordered_map>

namespace cqrs::apply {

namespace {

bool same_key(const Table& table, const Field* a, const Field* b) {
    const auto& columns = table.primary().columns;
    return std::all_of(columns.begin(), columns.end(),
                       [&](std::uint32_t c) { return a[c].text() == b[c].text(); });
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
            slots_.clear();
            indexed_ = 0;
            only_creates_ = false;
            change_.truncate = true;
            return;
        }
        // Rows that were only ever created cannot meet each other: no lookup.
        if (e.verb == Verb::create && only_creates_) {
            states_.push_back({e.key, e.row, e.pattern, State::created, false});
            return;
        }
        only_creates_ = false;
        while (indexed_ < states_.size()) index();
        if (Entry* known = find(e.key, e.row)) return merge(*known, e);
        states_.push_back({e.key, e.row, e.pattern, first(e.verb), e.verb == Verb::remove});
        index();
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
        std::uint64_t key;
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

    // Open addressing: the index of an entry, and 1; 0: free.
    std::uint32_t& slot_of(std::uint64_t key, const Field* row) {
        const std::size_t mask = slots_.size() - 1;
        std::size_t at = key >> 1 & mask;
        for (; slots_[at]; at = (at + 1) & mask) {
            const Entry& s = states_[slots_[at] - 1];
            if (s.key == key && same_key(*change_.table, s.row, row)) break;
        }
        return slots_[at];
    }

    Entry* find(std::uint64_t key, const Field* row) {
        if (slots_.empty()) return nullptr;
        const std::uint32_t index = slot_of(key, row);
        return index ? &states_[index - 1] : nullptr;
    }

    // The next one of states_.
    void index() {
        if (slots_.size() < 2 * (indexed_ + 1)) {
            slots_.assign(std::max<std::size_t>(64, 4 * slots_.size()), 0);
            for (std::uint32_t i = 0; i < indexed_; ++i)
                slot_of(states_[i].key, states_[i].row) = i + 1;
        }
        const Entry& next = states_[indexed_];
        std::uint32_t& slot = slot_of(next.key, next.row);
        ++indexed_;
        if (slot)
            change_.irregular = true;  // created twice
        else
            slot = static_cast<std::uint32_t>(indexed_);
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
    std::vector<std::uint32_t> slots_;
    std::size_t indexed_ = 0;  // how many of states_ slots_ has
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
