#include "apply/key_order.hpp"

#include <gtest/gtest.h>

#include "apply_fixture.hpp"

namespace cqrs::apply {
namespace {

std::vector<std::string> sorted(Column::Order order, const std::vector<std::string>& keys) {
    Table table = test::make_table("t", {"k", "v"}, {0});
    table.columns[0].order = order;
    test::Events events(table);
    std::vector<NetRow> rows;
    for (const std::string& k : keys)
        rows.push_back({events.add(Verb::create, {k, "value of " + k}).row, 0});
    sort_by_key(table, rows);
    std::vector<std::string> out;
    for (const NetRow& r : rows) {
        out.emplace_back(r.row[0].text());
        EXPECT_EQ(r.row[1].text(), "value of " + out.back());
    }
    return out;
}

TEST(KeyOrder, BytesAsTheIndexHasThem) {
    EXPECT_EQ(
        sorted(Column::Order::bytes,
               {"ffffffff-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000",
                "0000000a-ff00-4000-8000-000000000000", "0000000a-0000-4000-8000-000000000000"}),
        (std::vector<std::string>{
            "00000000-0000-4000-8000-000000000000", "0000000a-0000-4000-8000-000000000000",
            "0000000a-ff00-4000-8000-000000000000", "ffffffff-0000-4000-8000-000000000000"}));
}

TEST(KeyOrder, NumbersByValue) {
    EXPECT_EQ(sorted(Column::Order::number, {"10", "9", "-1", "9223372036854775807", "-20", "0"}),
              (std::vector<std::string>{"-20", "-1", "0", "9", "10", "9223372036854775807"}));
}

TEST(KeyOrder, UnknownStaysAsItCame) {
    EXPECT_EQ(sorted(Column::Order::unknown, {"b", "a", "c"}),
              (std::vector<std::string>{"b", "a", "c"}));
}

TEST(KeyOrder, ShortKeysAreRead) {
    EXPECT_EQ(sorted(Column::Order::bytes, {"b", "", "ab", "a"}),
              (std::vector<std::string>{"", "a", "ab", "b"}));
}

}  // namespace
}  // namespace cqrs::apply
