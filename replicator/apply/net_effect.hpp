// What whole transactions come to in the end, per table and key. Pure: no server.
//
// Every row of the batch ends in exactly one list of its table, so that the lists can be written
// one after the other, set-wise: deletes, updates, inserts. A change of the key cannot: it is a
// step alone.
#pragma once

#include <span>
#include <vector>

#include "apply/arena.hpp"
#include "apply/event.hpp"
#include "apply/table.hpp"

namespace cqrs::apply {

struct NetRow {
    const Field* row = nullptr;
    std::uint32_t pattern = 0;
};

struct TableChange {
    const Table* table = nullptr;
    bool truncate = false;  // everything there goes first
    std::vector<const Field*>
        deletes;  // rows there before the batch; also those that come back in inserts
    std::vector<NetRow> updates;  // of rows there before the batch
    std::vector<NetRow> inserts;
    // An update or delete of a row that the batch itself has deleted, a create of one it has seen:
    // the primary cannot have done that. Only the original order can say what comes of it.
    bool irregular = false;
};

struct Step {
    const Event* alone = nullptr;  // a key change; `tables` is empty then
    std::vector<TableChange> tables;
    std::size_t begin = 0, end = 0;  // the events it stands for
};

bool changes_key(const Event& event);

// events: in commit order, whole transactions. Merged rows are made in `arena`.
std::vector<Step> net_effect(std::span<const Event* const> events, Arena& arena);

}  // namespace cqrs::apply
