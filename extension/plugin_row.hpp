// A tuple as the JSON object of an event's data. Nothing here ends in an ERROR because of what a
// row holds: what cannot be said is a Failure, which becomes a stop event.
#pragma once

#include "guard.hpp"
#include "plugin_relation.hpp"

extern "C" {
#include "access/htup.h"
}

#include <memory>
#include <string>
#include <string_view>

namespace cqrs {

struct Failure {
    const Column* column = nullptr;  // null: not a column's fault
    Reason reason;
};

enum class Part : std::uint8_t { all, key };

// The values of a change, unpacked once. Pallocs in the current context, which the caller resets.
class RowWriter {
  public:
    explicit RowWriter(std::size_t max_event_bytes);

    // Either may be null; both are read in the layout of the relation that changed.
    void load(TupleDesc layout, HeapTuple row, HeapTuple old_row);

    bool has_old() const { return old_.present; }

    // Appends the object of the new row; an unchanged TOASTed value is left out unless the old row
    // has it. `insert`: nothing may be left out.
    bool write_row(std::string& out, const Table& table, bool insert, Failure& failure);
    // For what was written last: `,"jsonnulls":"[\"doc\"]"`, naming the json columns whose null is
    // JSON's own and not SQL's, which data alone cannot tell apart; empty if there are none.
    std::string json_nulls() const;
    bool write_old(std::string& out, const Table& table, Part part, Failure& failure);
    // The key columns after the change, to compare with write_old(Part::key).
    bool write_new_key(std::string& out, const Table& table, Failure& failure);

  private:
    struct Values {
        std::unique_ptr<Datum[]> datums;
        std::unique_ptr<bool[]> nulls;
        bool present = false;
    };
    bool write_value(std::string& out, const Column& column, Datum value, Failure& failure);
    bool write_varlena(std::string& out, const Column& column, Datum value, Failure& failure);
    bool write_output(std::string& out, const Column& column, Datum value, bool careful,
                      Failure& failure);
    bool write_utf8(std::string& out, const Column& column, std::string_view text,
                    Failure& failure);
    bool write_json(std::string& out, const Column& column, std::string_view text,
                    Failure& failure);
    template <class Pick>
    bool write_object(std::string& out, const Table& table, Part part, Failure& failure,
                      Pick&& pick);

    std::size_t max_event_bytes_;
    Values row_, old_;
    std::string json_nulls_;  // ,"doc","more"
};

}  // namespace cqrs
