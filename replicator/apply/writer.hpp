// Writes the rows of whole transactions inside the open transaction. Three ways, from fast to sure:
//   set_wise    COPY of inserts, DELETE and UPDATE from a staging table; trusts that every row is
//               where the stream says
//   replace     takes every touched row out and puts the final ones in: unique values may be
//   swapped,
//               rows may be there already or be missing
//   one_by_one  in the original order; an error names its event
// What one way cannot do it refuses with TryNext or 23505; the caller rolls back and takes the
// next.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "apply/copy_binary.hpp"
#include "apply/errors.hpp"
#include "apply/net_effect.hpp"

namespace cqrs::apply {

struct TryNext : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The server refused one event for good.
struct WriteError : std::runtime_error {
    WriteError(const Event& event_, const postgres::Error& cause_, std::string handler_ = {})
        : std::runtime_error(cause_.what()),
          event(&event_),
          cause(cause_),
          handler(std::move(handler_)) {}
    const Event* event;
    postgres::Error cause;
    std::string handler;  // whose call it was; "": a row of event->table
};
// A value does not fit its column, or a row the table's constraints.
bool of_a_value(const postgres::Error& error);
// For people: event, table and key or handler, column, reason, statement.
std::string describe(const WriteError& error, const std::string& column = {});
// The event does not fit its table as it is, and the table's columns are to become the primary's.
bool follows(const WriteError& error);

class Writer {
  public:
    enum class Mode { set_wise, replace, one_by_one };

    explicit Writer(postgres::Connection& connection) : connection_(connection) {}

    // Outside a transaction: creates the staging tables that write() will want.
    void prepare(std::span<const Event* const> events, Mode mode);
    void write(std::span<const Event* const> events, Mode mode);
    // The events one by one, each an ERROR unless its row is as the stream says; for transact().
    // Outside a transaction. nullopt: there is one whose statement depends on what it finds.
    std::optional<std::vector<postgres::Step>> steps(std::span<const Event* const> events);

    // After COMMIT or ROLLBACK: what did not match the stream and was put right, per kind.
    using Conflicts = std::map<std::string, std::int64_t>;
    Conflicts end_transaction();

  private:
    void set_wise(const TableChange& change);
    void replace(const TableChange& change);
    struct Statement {
        std::string id;  // among those of its table
        std::vector<postgres::Param> params;
        std::function<std::string()> sql;
    };
    void one(const Event& event, Mode mode);
    void insert_one(const Event& event);
    void update_one(const Event& event, const Key& key, const Field* names);
    void move_one(const Event& event, const Key& key, Mode mode);
    std::int64_t replace_one(const Event& event, const Key& key, const Field* names);
    // nullopt: there is nothing to set.
    static std::optional<Statement> update(const Event& event, const Key& key, const Field* names);
    static Statement deletion(const Table& table, const Key& key, const Field* names);

    std::int64_t delete_staged(const Table& table, std::span<const NetRow> rows);
    std::int64_t delete_listed(const Table& table, std::span<const NetRow> rows);

    void learn_forms(const Table& table);
    void check_types(const Table& table);
    void clear_staging(const Table& table);
    // Into the staging table if there is a tag.
    void copy(const Table& table, std::optional<std::int64_t> tag,
              const std::vector<std::uint32_t>& columns, std::span<const NetRow> rows);
    void copy_text(std::optional<std::int64_t> tag, const std::vector<std::uint32_t>& columns,
                   std::span<const NetRow> rows);
    void copy_binary(const Table& table, std::optional<std::int64_t> tag,
                     const std::vector<std::uint32_t>& columns, std::span<const NetRow> rows);
    void put_full_buffer();
    const std::string& prepared(const Table& table, const std::string& id,
                                const std::function<std::string()>& sql);
    void make_room(std::size_t statements);
    std::int64_t execute(const Table& table, const Statement& statement);

    postgres::Connection& connection_;
    Arena arena_;
    Conflicts conflicts_;
    std::set<std::uint32_t> staging_, dirty_;  // by table oid
    std::set<std::uint32_t> checked_;          // in this transaction
    // By table oid, a form a column; empty: a value was not as its type prints it, and the server
    // reads them all.
    std::unordered_map<std::uint32_t, std::vector<BinaryForm>> forms_;
    std::unordered_map<std::string, std::string> prepared_;
    std::string buffer_;
};

}  // namespace cqrs::apply
