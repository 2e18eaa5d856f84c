#include "relay/ledger.hpp"

#include <gtest/gtest.h>

namespace {

using namespace cqrs;
using namespace cqrs::relay;

Message message(std::int64_t sequence, std::string topic = "a") {
    Message m;
    m.topic = std::move(topic);
    m.sequence = sequence;
    m.body = "[" + std::to_string(sequence) + "]";
    return m;
}

Checkpoint checkpoint(Lsn lsn, bool heartbeat = false) {
    Checkpoint c;
    c.lsn = lsn;
    c.heartbeat = heartbeat;
    return c;
}

Ledger::Progress advance(Ledger& ledger) {
    return ledger.advance([](const Message&, bool) {});
}

// Messages 1..n published under tags 1..n, a checkpoint of lsn i*10 behind each.
Ledger published(int n) {
    Ledger ledger;
    for (int i = 1; i <= n; ++i) {
        ledger.append(message(i));
        ledger.append(checkpoint(static_cast<Lsn>(i) * 10));
        ledger.published(static_cast<std::uint64_t>(i));
    }
    return ledger;
}

TEST(Ledger, ConfirmsInOrder) {
    Ledger ledger = published(3);
    EXPECT_EQ(ledger.in_flight(), 3u);
    EXPECT_FALSE(advance(ledger).checkpoint);
    EXPECT_TRUE(ledger.confirm(1, false, true));
    auto progress = advance(ledger);
    EXPECT_EQ(progress.messages, 1u);
    EXPECT_EQ(progress.bytes, 3u);
    EXPECT_EQ(progress.checkpoint->lsn, 10u);
    EXPECT_EQ(ledger.in_flight(), 2u);
}

TEST(Ledger, AHoleHoldsEverythingBehindIt) {
    Ledger ledger = published(4);
    ledger.confirm(2, false, true);
    ledger.confirm(4, false, true);
    EXPECT_FALSE(advance(ledger).checkpoint);
    EXPECT_EQ(ledger.in_flight(), 2u);
    ledger.confirm(1, false, true);
    EXPECT_EQ(advance(ledger).checkpoint->lsn, 20u);
    ledger.confirm(3, false, true);
    EXPECT_EQ(advance(ledger).checkpoint->lsn, 40u);
    EXPECT_TRUE(ledger.empty());
    EXPECT_EQ(ledger.bytes(), 0u);
}

TEST(Ledger, MultipleConfirmsAllUpToTheTag) {
    Ledger ledger = published(5);
    ledger.confirm(3, true, true);
    EXPECT_EQ(advance(ledger).checkpoint->lsn, 30u);
    ledger.confirm(0, true, true);
    EXPECT_EQ(advance(ledger).checkpoint->lsn, 50u);
}

TEST(Ledger, DoubleAndUnknownConfirmsChangeNothing) {
    Ledger ledger = published(2);
    ledger.confirm(1, false, true);
    ledger.confirm(1, false, true);
    ledger.confirm(99, false, true);
    EXPECT_TRUE(ledger.confirm(99, false, false));
    EXPECT_EQ(ledger.in_flight(), 1u);
    EXPECT_EQ(advance(ledger).checkpoint->lsn, 10u);
}

TEST(Ledger, ANackIsReported) {
    Ledger ledger = published(3);
    EXPECT_FALSE(ledger.confirm(2, false, false));
    EXPECT_FALSE(ledger.confirm(3, true, false));
    EXPECT_FALSE(advance(ledger).checkpoint);
}

TEST(Ledger, ResendStartsAtTheFirstUnconfirmed) {
    Ledger ledger = published(4);
    ledger.confirm(1, false, true);
    ledger.confirm(3, false, true);
    advance(ledger);
    ledger.resend();
    EXPECT_EQ(ledger.in_flight(), 0u);
    EXPECT_EQ(ledger.in_flight_bytes(), 0u);
    // Message 3 too, although it was confirmed: the order has to hold.
    for (std::int64_t sequence : {2, 3, 4}) {
        ASSERT_NE(ledger.next(), nullptr);
        EXPECT_EQ(ledger.next()->sequence, sequence);
        ledger.published(static_cast<std::uint64_t>(sequence) + 100);
    }
    EXPECT_EQ(ledger.next(), nullptr);
    ledger.confirm(3, true, true);  // of the old connection
    EXPECT_FALSE(advance(ledger).checkpoint);
    ledger.confirm(104, true, true);
    EXPECT_EQ(advance(ledger).checkpoint->lsn, 40u);
}

TEST(Ledger, CheckpointsWithoutMessagesPassAtOnceAndMerge) {
    Ledger ledger;
    ledger.append(checkpoint(10, true));
    ledger.append(checkpoint(20));
    auto progress = advance(ledger);
    EXPECT_EQ(progress.checkpoint->lsn, 20u);
    EXPECT_TRUE(progress.checkpoint->heartbeat);
    EXPECT_TRUE(ledger.empty());
}

TEST(Ledger, AHeartbeatWaitsForWhatIsBeforeIt) {
    Ledger ledger;
    ledger.append(message(1));
    ledger.append(checkpoint(10, true));
    ledger.append(message(2));
    ledger.append(checkpoint(20));
    EXPECT_FALSE(advance(ledger).checkpoint);
    ledger.published(1);
    ledger.published(3);  // 2 was a heartbeat
    ledger.confirm(3, false, true);
    EXPECT_FALSE(advance(ledger).checkpoint);
    ledger.confirm(1, false, true);
    auto progress = advance(ledger);
    EXPECT_EQ(progress.checkpoint->lsn, 20u);
    EXPECT_TRUE(progress.checkpoint->heartbeat);
}

TEST(Ledger, ReturnsAreRemembered) {
    Ledger ledger;
    for (const char* topic : {"a", "b"}) ledger.append(message(1, topic));
    ledger.published(1);
    ledger.published(2);
    EXPECT_TRUE(ledger.mark_returned("b", 1));
    EXPECT_FALSE(ledger.mark_returned("b", 2));
    ledger.confirm(2, true, true);
    std::string seen;
    ledger.advance(
        [&](const Message& m, bool returned) { seen += m.topic + (returned ? "1" : "0"); });
    EXPECT_EQ(seen, "a0b1");
}

TEST(Ledger, Clear) {
    Ledger ledger = published(3);
    ledger.append(message(4));
    ledger.clear();
    EXPECT_TRUE(ledger.empty());
    EXPECT_EQ(ledger.next(), nullptr);
    ledger.append(message(5));
    ledger.append(checkpoint(50));
    ledger.published(9);
    ledger.confirm(3, true, true);
    EXPECT_FALSE(advance(ledger).checkpoint);
    ledger.confirm(9, false, true);
    EXPECT_EQ(advance(ledger).checkpoint->lsn, 50u);
}

}  // namespace
