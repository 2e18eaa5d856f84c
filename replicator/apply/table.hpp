// A replica's table as the catalog describes it. Loaded once per session; a schema change shows as
// an error or an unknown attribute, and the next session loads it anew.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "apply/event.hpp"
#include "postgres/connection.hpp"

namespace cqrs::apply {

struct Column {
    std::string name;
    std::string quoted;      // "name"
    std::string cast;        // type without typmod: "bpchar", not "character" (which is char(1))
    bool generated = false;  // delivered, never written
    bool identity_always = false;  // cannot be SET; INSERT needs OVERRIDING SYSTEM VALUE
    bool array = false;            // has no array of its own type
    bool json = false;             // json or jsonb (or a domain over it): takes the raw JSON
    enum class Order : std::uint8_t { unknown, bytes, number };
    Order order = Order::unknown;  // how the index orders its text: as bytes (uuid), as a number
};

// A unique, NOT NULL, immediate index over plain columns: a way to name a row.
struct Key {
    std::vector<std::uint32_t> columns;
    std::vector<std::string> equals;  // per column: OPERATOR("pg_catalog".=)
};

struct Table {
    std::uint32_t oid = 0;
    std::string prefix;  // of the subscription
    std::string name;    // schema-qualified and quoted
    bool partitioned = false;
    std::vector<Column> columns;
    std::vector<Key> keys;  // REPLICA IDENTITY USING INDEX first, then the primary key, then others
    std::size_t key = 0;    // the one in use
    bool notify = false;
    bool ignore_unknown = false;  // columns that only the primary has
    bool follow = false;          // its columns become the primary's
    bool park = false;            // events that are refused go to cqrs.parked (on_error => 'park')
    bool replace_only =
        false;  // UPDATE cannot express it (an identity ALWAYS column beside the key)
    bool independent = false;        // rows_are_independent()
    std::uint64_t snapshot_lsn = 0;  // events up to here are in the copy already

    std::vector<std::uint32_t> writable;  // columns that are not generated

    void prepare();  // after columns are set
    std::optional<std::uint32_t> find(std::string_view column) const;

    // Which columns rows have. 0: all that can be written. Others are learnt as they come, by
    // whichever thread decodes them, and never change.
    struct Pattern {
        std::vector<std::uint32_t> columns;  // present and writable
        std::vector<std::uint32_t> absent;   // writable, not present
    };
    std::uint32_t pattern(const Field* row) const;
    const Pattern& pattern(std::uint32_t id) const;
    // Where rows are read, changed and deleted: children by inheritance are tables of their own.
    std::string rows() const { return partitioned ? name : "ONLY " + name; }
    const Key& primary() const { return keys[key]; }
    // The first key whose columns `fields` has, the one in use preferred.
    const Key* key_for(const Field* fields) const;

  private:
    struct Patterns {
        std::mutex mutex;
        std::deque<Pattern> list;
        std::unordered_map<std::string, std::uint32_t> ids;
    };
    std::unordered_map<std::string, std::uint32_t> by_name_;
    std::shared_ptr<Patterns> patterns_;
};

// Throws postgres::Error{stop} when the table is gone or has no key.
Table load_table(postgres::Connection& connection, std::uint32_t oid, const std::string& prefix);

// Whether each row can be written without regard to those of other keys: the key is the only unique
// index, and no trigger or rule looks at what is written.
bool rows_are_independent(postgres::Connection& connection, const Table& table);

}  // namespace cqrs::apply
