#include "apply/key_set.hpp"

#include <bit>
#include <functional>
#include <string_view>

#include "apply/table.hpp"

namespace cqrs::apply {

std::uint64_t key_hash(const Table& table, const Field* row) {
    std::uint64_t hash = table.oid;
    for (const std::uint32_t c : table.primary().columns)
        hash = (hash ^ std::hash<std::string_view>{}(row[c].text())) * 0x9e3779b97f4a7c15;
    return hash | 1;
}

KeySet::KeySet(std::span<const Event* const> events)
    : slots_(std::bit_ceil(2 * events.size() + 2)), mask_(slots_.size() - 1) {
    for (const Event* e : events)
        if (e->key) insert(e->key);
}

bool KeySet::touches(const Event& event) const {
    if (!event.key) return false;
    for (std::size_t at = event.key >> 1 & mask_; slots_[at]; at = (at + 1) & mask_)
        if (slots_[at] == event.key) return true;
    return false;
}

void KeySet::insert(std::uint64_t hash) {
    std::size_t at = hash >> 1 & mask_;
    while (slots_[at] && slots_[at] != hash) at = (at + 1) & mask_;
    slots_[at] = hash;
}

}  // namespace cqrs::apply
