#include "apply/flushes.hpp"

#include <gtest/gtest.h>

namespace cqrs::apply {
namespace {

TEST(Flushes, ACommitIsSafeOnceTheWalIsFlushedBeyondIt) {
    Flushes f;
    f.committed(7, {.inserted = 100, .flushed = 90});
    EXPECT_TRUE(f.waiting());
    EXPECT_EQ(f.safe(), -1);
    f.flushed(99);
    EXPECT_TRUE(f.waiting());
    f.flushed(100);
    EXPECT_FALSE(f.waiting());
}

TEST(Flushes, EachCommitTellsOfThoseBefore) {
    Flushes f;
    f.committed(7, {100, 90});
    f.committed(9, {200, 150});
    EXPECT_TRUE(f.waiting());
    EXPECT_EQ(f.safe(), 7);
    f.committed(12, {300, 200});
    EXPECT_EQ(f.safe(), 9);
}

TEST(Flushes, OnDiskAtOnce) {
    Flushes f;
    f.committed(7, {100, 100});
    EXPECT_FALSE(f.waiting());
}

TEST(Flushes, ACommitThatWaitedBringsTheOthersAlong) {
    Flushes f;
    f.committed(7, {100, 0});
    f.all_flushed();
    EXPECT_FALSE(f.waiting());
}

}  // namespace
}  // namespace cqrs::apply
