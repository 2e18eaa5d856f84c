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
    EXPECT_EQ(silence.lasted(), 60s);
}

TEST(Silence, ABrokerThatHangsInBetweenBeginsItAnew) {
    Silence silence;
    EXPECT_FALSE(silence.for_good(start));
    EXPECT_FALSE(silence.for_good(start + 31s));
    EXPECT_FALSE(silence.for_good(start + 60s));
    EXPECT_EQ(silence.lasted(), 29s);
}

TEST(Silence, ANewQueueIsGivenUpTheSecondTime) {
    Silence silence;
    silence.declared(start);
    EXPECT_FALSE(silence.for_good(start + 15s));
    EXPECT_TRUE(silence.for_good(start + 30s));
}

TEST(Silence, ANewQueueAfterABrokerThatHungIsNotGivenUpAtOnce) {
    Silence silence;
    silence.declared(start);
    EXPECT_FALSE(silence.for_good(start + 15s));
    EXPECT_FALSE(silence.for_good(start + 50s));
    EXPECT_TRUE(silence.for_good(start + 60s));
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

TEST(Silence, DeclaredAnewItsSilenceBeginsAnew) {
    Silence silence;
    EXPECT_FALSE(silence.for_good(start));
    silence.declared(start + 10s);
    EXPECT_FALSE(silence.for_good(start + 20s));
}

}  // namespace
}  // namespace cqrs::broker
