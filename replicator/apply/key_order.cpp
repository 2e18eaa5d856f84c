#include "apply/key_order.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <vector>

namespace cqrs::apply {

namespace {

// What is compared lies beside the row: the texts themselves are spread over many messages.
struct Keyed {
    std::uint64_t high, low;
    NetRow row;
    bool operator<(const Keyed& other) const {
        return high != other.high ? high < other.high : low < other.low;
    }
};

std::uint64_t big_endian(const char* bytes) {
    std::uint64_t value;
    std::memcpy(&value, bytes, sizeof value);
    return __builtin_bswap64(value);
}

Keyed keyed(const NetRow& row, const Field& field, Column::Order order) {
    Keyed out{0, 0, row};
    if (order == Column::Order::number) {
        std::int64_t number = 0;
        std::from_chars(field.data, field.data + field.size, number);
        out.high = static_cast<std::uint64_t>(number) ^ (std::uint64_t{1} << 63);
        return out;
    }
    std::array<char, 16> first{};
    if (field.size) std::memcpy(first.data(), field.data, std::min<std::size_t>(field.size, 16));
    out.high = big_endian(first.data());
    out.low = big_endian(first.data() + 8);
    return out;
}

}  // namespace

void sort_by_key(const Table& table, std::span<NetRow> rows) {
    const std::uint32_t column = table.primary().columns[0];
    const Column::Order order = table.columns[column].order;
    if (order == Column::Order::unknown || rows.size() < 2) return;
    std::vector<Keyed> keys;
    keys.reserve(rows.size());
    for (const NetRow& r : rows) keys.push_back(keyed(r, r.row[column], order));
    if (std::is_sorted(keys.begin(), keys.end())) return;
    std::sort(keys.begin(), keys.end());
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = keys[i].row;
}

}  // namespace cqrs::apply
