// Where a history begins, and which of its messages are new.
#include <gtest/gtest.h>

#include "history/from.hpp"
#include "history/order.hpp"

namespace cqrs::history {
namespace {

std::string shown(const std::string& text) {
    const auto from = parse_from(text);
    if (!from) return "none";
    switch (from->kind) {
        case From::Kind::oldest:
            return "oldest";
        case From::Kind::sequence:
            return std::to_string(from->value);
        default:
            return format_time(from->value);
    }
}

TEST(HistoryFrom, Forms) {
    EXPECT_EQ(shown("oldest"), "oldest");
    EXPECT_EQ(shown("17"), "17");
    EXPECT_EQ(shown("2026-11-25"), "2026-11-25T00:00:00.000000Z");
    EXPECT_EQ(shown("2026-11-25 04:30"), "2026-11-25T04:30:00.000000Z");
    EXPECT_EQ(shown("2026-11-25T04:30:59.5Z"), "2026-11-25T04:30:59.500000Z");
    EXPECT_EQ(shown("2026-11-25T04:30:59.123456789+01:30"), "2026-11-25T03:00:59.123456Z");
    EXPECT_EQ(shown("2026-12-31T23:30-01"), "2027-01-01T00:30:00.000000Z");
}

TEST(HistoryFrom, Refused) {
    for (const char* text :
         {"", "0", "-5", "+5", "5x", "newest", "2026-11", "2026-13-01", "2026-02-30", "2026-11-25T",
          "2026-11-25T4:30", "2026-11-25T24:00", "2026-11-25T04:30:00.", "2026-11-25T04:30 UTC",
          "2026-11-25T04:30+", "99999999999999999999", "2026-11-25T04:30Zx"})
        EXPECT_EQ(shown(text), "none") << text;
}

// What is new in a message of `count` events from `sequence` on: "5-6, 3-4 missing".
std::string taken(Order& order, std::int64_t epoch, std::int64_t sequence, std::int64_t count) {
    apply::MessageHead h;
    h.epoch = epoch;
    h.sequence = sequence;
    h.count = count;
    const Order::Step step = order.take(h);
    if (step.from == 0) return "nothing";
    std::string text = step.epoch_began ? "new epoch: " : "";
    text += std::to_string(step.from) + "-" + std::to_string(order.last());
    if (step.missing)
        text +=
            ", " + std::to_string(step.missing) + "-" + std::to_string(step.from - 1) + " missing";
    return text;
}

TEST(HistoryOrder, BeginsAnywhere) {
    Order order;
    EXPECT_EQ(taken(order, 1, 7, 2), "7-8");
}

TEST(HistoryOrder, WhatComesAgainIsNotNew) {
    Order order;
    EXPECT_EQ(taken(order, 1, 1, 4), "1-4");
    EXPECT_EQ(taken(order, 1, 1, 4), "nothing");
    EXPECT_EQ(taken(order, 1, 2, 1), "nothing");
    EXPECT_EQ(taken(order, 1, 3, 4), "5-6");  // cut otherwise: 3 and 4 were there
}

TEST(HistoryOrder, GapIsNamedOnce) {
    Order order;
    EXPECT_EQ(taken(order, 1, 1, 2), "1-2");
    EXPECT_EQ(taken(order, 1, 5, 1), "5-5, 3-4 missing");
    EXPECT_EQ(taken(order, 1, 6, 1), "6-6");
}

TEST(HistoryOrder, Epochs) {
    Order order;
    EXPECT_EQ(taken(order, 2, 1, 2), "1-2");
    EXPECT_EQ(taken(order, 1, 3, 1), "nothing");  // late, of a relay that is gone
    EXPECT_EQ(taken(order, 3, 1, 1), "new epoch: 1-1");
    EXPECT_EQ(taken(order, 4, 3, 1), "new epoch: 3-3, 1-2 missing");
    EXPECT_EQ(order.epoch(), 4);
}

}  // namespace
}  // namespace cqrs::history
