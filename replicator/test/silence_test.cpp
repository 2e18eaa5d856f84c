#include "broker/silence.hpp"

#include <gtest/gtest.h>

namespace cqrs::broker {
namespace {

using namespace std::chrono_literals;

const Silence::Clock::time_point start{1h};

TEST(Silence, AnOldQueueIsGivenUpAfterAMinute) {
    Silence silence;
    for (auto t = 0s; t < 60s; t += 10s) EXPECT_FALSE(silence.for_good(start + t)) << t.count();
    EXPECT_TRUE(silence.for_good(start + 60s));
}

TEST(Silence, NoWordForLongBeginsItAnew) {
    Silence silence;
    EXPECT_FALSE(silence.for_good(start));
    EXPECT_FALSE(silence.for_good(start + 60s));
    EXPECT_FALSE(silence.for_good(start + 119s));
    EXPECT_TRUE(silence.for_good(start + 120s));
}

TEST(Silence, AnAnswerEndsIt) {
    Silence silence;
    EXPECT_FALSE(silence.for_good(start));
    EXPECT_FALSE(silence.for_good(start + 50s));
    silence.answered();
    EXPECT_FALSE(silence.for_good(start + 60s));
    EXPECT_FALSE(silence.for_good(start + 110s));
}

TEST(Silence, ANewQueueIsGivenUpTheSecondTime) {
    Silence silence;
    silence.declared(start);
    EXPECT_FALSE(silence.for_good(start + 15s));
    EXPECT_TRUE(silence.for_good(start + 30s));
}

TEST(Silence, ANewQueueThatAnsweredMeanwhileIsNot) {
    Silence silence;
    silence.declared(start);
    EXPECT_FALSE(silence.for_good(start + 15s));
    silence.answered();
    EXPECT_FALSE(silence.for_good(start + 30s));
}

TEST(Silence, AQueueIsNewForTwoMinutes) {
    Silence silence;
    EXPECT_FALSE(silence.young(start));
    silence.declared(start);
    EXPECT_TRUE(silence.young(start + 119s));
    EXPECT_FALSE(silence.young(start + 120s));
    EXPECT_FALSE(silence.for_good(start + 120s));
    EXPECT_FALSE(silence.for_good(start + 140s));
}

TEST(Silence, WhatIsGivenUpStaysSoUntilItIsDeclaredAnew) {
    Silence silence;
    silence.declared(start);
    EXPECT_FALSE(silence.for_good(start + 1s));
    EXPECT_TRUE(silence.for_good(start + 2s));
    EXPECT_TRUE(silence.for_good(start + 1000s));
    silence.declared(start + 1001s);
    EXPECT_FALSE(silence.for_good(start + 1002s));
}

}  // namespace
}  // namespace cqrs::broker
