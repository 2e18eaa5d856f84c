// Which rows a batch touches, by table and key. Pure. A hash stands for a key: two keys of one hash
// are taken for the same, which costs time and nothing else.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "apply/event.hpp"

namespace cqrs::apply {

// Of the columns of the key in use, and the table. Never 0.
std::uint64_t key_hash(const Table& table, const Field* row);

class KeySet {
  public:
    // Of the events' rows.
    explicit KeySet(std::span<const Event* const> events);
    bool touches(const Event& event) const;

  private:
    void insert(std::uint64_t hash);
    std::vector<std::uint64_t> slots_;  // open addressing; 0: free
    std::size_t mask_;
};

}  // namespace cqrs::apply
