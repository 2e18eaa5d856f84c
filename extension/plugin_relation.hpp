// What is known of each table that changes: whether and as what it is published, and how each of
// its columns is written. Made once, invalidated by the relcache.
#pragma once

#include "frame.hpp"
#include "guard.hpp"
#include "plugin_attempt.hpp"
#include "plugin_output.hpp"

extern "C" {
#include "fmgr.h"
#include "replication/reorderbuffer.h"
#include "utils/relcache.h"
}

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace cqrs {

// How a column's value becomes JSON.
enum class Writer : std::uint8_t {
    int2,
    int4,
    int8,
    boolean,
    float4,
    float8,
    text,  // and all that is stored like it
    name,
    uuid,
    date,
    timestamp,
    timestamptz,
    enumeration,
    json,
    jsonb,
    number,  // output function; a JSON number unless it is NaN or infinite
    string,  // output function
};

struct Column {
    std::string name;  // ,"name":
    int index = 0;     // in the tuple of the relation that changed (a partition's may differ)
    Writer writer = Writer::string;
    bool varlena = false;
    bool key = false;
    bool foreign = false;  // its output runs code that is not Postgres' own
    FmgrInfo output{};
};

enum class Verb : std::uint8_t { create, update, remove, truncate, resync, stop, count };

struct Table {
    explicit Table(MemoryContext parent);

    Oid relation = InvalidOid;
    bool valid = false;
    bool published = false;
    bool until_commit = false;  // the answer is the current transaction's alone
    bool partition = false;
    Oid root = InvalidOid;  // the published relation: itself or an ancestor
    bool notify = false;
    bool full_identity = false;  // the old row is whole
    bool has_key = false;
    bool names_old = false;  // updates name the old key, also where it stays: see write_oldkey()
    Reason broken;           // not empty: its columns cannot be read, every change is a stop
    Topic* topic = nullptr;
    std::string name;  // "schema.table" of the root, as a JSON string
    std::array<std::string, static_cast<std::size_t>(Verb::count)> types;
    std::vector<Column> columns;
    Lsn stopped_at = 0;  // transaction in which the whole table's stop was said

    const std::string& type(Verb verb) const { return types[static_cast<std::size_t>(verb)]; }
    // Output functions' memory. The decoding context owns it, and deletes it before it destroys our
    // C++ objects; sweep() is the only other one to.
    MemoryContext context;
};

// Fills in the columns of `table`, in the root's order, and what is known of its identity. Sets
// table.broken if they cannot be read.
void describe_columns(Table& table, Relation root, Relation changed);

// "schema.table", quoted as SQL would, as a JSON string; null if the name cannot be found or said.
void append_relation_name(std::string& out, Oid schema, const char* name);

class TableCache {
  public:
    TableCache(MemoryContext context, Output& output);
    ~TableCache();
    TableCache(const TableCache&) = delete;
    TableCache& operator=(const TableCache&) = delete;

    // Valid until the next call of end_of_transaction(), also if it is invalidated meanwhile.
    Table& find(Relation relation, ReorderBufferTXN* txn);
    void end_of_transaction();

  private:
    static void on_relcache(Datum, Oid relation);
    void invalidate(Oid relation);
    void sweep();
    void build(Table& table, Relation relation, ReorderBufferTXN* txn);

    MemoryContext context_;
    Output& output_;
    std::unordered_map<Oid, std::unique_ptr<Table>> tables_;
    Table* last_ = nullptr;
    std::size_t invalid_ = 0;
    bool any_until_commit_ = false;
    bool any_partition_ = false;
    // Relcache callbacks cannot be unregistered: the one of this backend goes through this list.
    static TableCache* first_;
    TableCache* next_;
};

}  // namespace cqrs
