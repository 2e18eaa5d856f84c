// One CloudEvent as the applier sees it. Views point into the message's body or its arena.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cqrs::apply {

struct Table;

// What a column of a row is set to, in the text form that Postgres reads back.
struct Field {
    enum class Kind : std::uint8_t { absent, null, value };
    const char* data = nullptr;
    std::uint32_t size = 0;
    Kind kind = Kind::absent;

    std::string_view text() const { return {data, size}; }
    bool is(Kind k) const { return kind == k; }
    static Field of(std::string_view text) {
        return {text.data(), static_cast<std::uint32_t>(text.size()), Kind::value};
    }
    static Field null() { return {nullptr, 0, Kind::null}; }
    friend bool operator==(const Field& a, const Field& b) {
        return a.kind == b.kind && a.text() == b.text();
    }
};

enum class Verb : std::uint8_t {
    create,
    update,
    remove,
    truncate,
    resync,
    stop,
    other,  // a domain event: counted, not written
};
Verb parse_verb(std::string_view word);

struct Event {
    std::int64_t sequence = 0;
    std::uint64_t lsn = 0;  // end LSN of its commit, from the id
    std::string_view id, type, time;
    std::string_view prefix;  // type without its last word
    Verb verb = Verb::other;
    const Table* table =
        nullptr;                 // null: nothing to write (no subscription, or in the copy already)
    std::uint32_t pattern = 0;   // which columns the row has: Table::pattern()
    const Field* row = nullptr;  // one Field a column of the table
    std::uint64_t key = 0;       // a hash of the row's key in the table, never 0; 0: no row
    const Field* old = nullptr;  // likewise, from oldkey; null when there was none
    std::string_view notify;     // the event's JSON when somebody listens, else empty
    const std::vector<std::uint32_t>* handlers = nullptr;  // Handlers' registrations that want it
    std::string_view json;    // the whole event when there are any, else empty
    std::string_view detail;  // data of resync and stop, for the log
};

// "0/16B3748.2" -> the LSN and 2; nullopt when it is not of that form.
struct EventId {
    std::uint64_t lsn;
    std::uint64_t index;
};
std::optional<EventId> parse_id(std::string_view id);

}  // namespace cqrs::apply
