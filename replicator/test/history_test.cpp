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

apply::MessageHead head(std::int64_t epoch, std::int64_t sequence, std::int64_t count) {
    apply::MessageHead h;
    h.epoch = epoch;
    h.sequence = sequence;
    h.count = count;
    return h;
}

TEST(HistoryOrder, BeginsAnywhere) {
    Order order;
    const auto step = order.take(head(1, 7, 2));
    EXPECT_EQ(step.from, 7);
    EXPECT_EQ(step.missing, 0);
    EXPECT_EQ(order.last(), 8);
}

TEST(HistoryOrder, WhatComesAgainIsNotNew) {
    Order order;
    order.take(head(1, 1, 4));
    EXPECT_EQ(order.take(head(1, 1, 4)).from, 0);
    EXPECT_EQ(order.take(head(1, 2, 1)).from, 0);
    const auto cut = order.take(head(1, 3, 4));  // cut otherwise: 3 and 4 were there
    EXPECT_EQ(cut.from, 5);
    EXPECT_EQ(cut.missing, 0);
    EXPECT_EQ(order.last(), 6);
}

TEST(HistoryOrder, GapIsNamedOnce) {
    Order order;
    order.take(head(1, 1, 2));
    const auto step = order.take(head(1, 5, 1));
    EXPECT_EQ(step.missing, 3);
    EXPECT_EQ(step.from, 5);
    EXPECT_EQ(order.take(head(1, 6, 1)).missing, 0);
}

TEST(HistoryOrder, Epochs) {
    Order order;
    order.take(head(2, 1, 2));
    EXPECT_EQ(order.take(head(1, 3, 1)).from, 0);  // late, of a relay that is gone
    const auto step = order.take(head(3, 1, 1));
    EXPECT_TRUE(step.epoch_began);
    EXPECT_EQ(step.from, 1);
    EXPECT_EQ(step.missing, 0);
    const auto later = order.take(head(4, 3, 1));  // its beginning is missing
    EXPECT_EQ(later.missing, 1);
    EXPECT_EQ(later.from, 3);
    EXPECT_EQ(order.epoch(), 4);
}

}  // namespace
}  // namespace cqrs::history
