// The relay's smaller parts: epochs, hand-over between the threads, formats, NOTIFY payloads.
#include <gtest/gtest.h>
#include <poll.h>

#include <simdjson.h>

#include <stdexcept>
#include <thread>

#include "relay/handoff.hpp"
#include "relay/notifier.hpp"
#include "relay/state.hpp"
#include "relay/watchdog.hpp"
#include "relay/wire.hpp"

namespace {

using namespace cqrs;
using namespace cqrs::relay;
using namespace std::chrono_literals;

RelayState row() {
    RelayState s;
    s.epoch = 1000;
    s.lsn = 500;
    s.identity = {"1", "1", "5", "origins=none"};
    s.owner = "me";
    return s;
}

SlotState slot_at(Lsn lsn) {
    SlotState s;
    s.confirmed = lsn;
    return s;
}

TEST(RelayState, ContinuesWhenTheSlotIsNotAhead) {
    EXPECT_EQ(broken_continuity(row(), slot_at(500), row().identity, false), "");
    EXPECT_EQ(broken_continuity(row(), slot_at(1), row().identity, false), "");
}

TEST(RelayState, EveryDoubtBeginsAnEpoch) {
    EXPECT_NE(broken_continuity(row(), slot_at(501), row().identity, false), "");
    EXPECT_NE(broken_continuity(row(), slot_at(400), row().identity, true), "");
    EXPECT_NE(broken_continuity(std::nullopt, slot_at(400), row().identity, false), "");
    for (auto member : {&Identity::system_identifier, &Identity::timeline, &Identity::database,
                        &Identity::options}) {
        Identity other = row().identity;
        other.*member = "other";
        EXPECT_NE(broken_continuity(row(), slot_at(500), other, false), "");
    }
}

TEST(RelayState, APromotedStandbyIsNamedByItsTimeline) {
    Identity promoted = row().identity;
    promoted.timeline = "other";  // and it has no slot
    EXPECT_NE(broken_continuity(row(), slot_at(400), promoted, true).find("timeline"),
              std::string::npos);
}

TEST(RelayState, EpochsGrowEvenIfTheClockDoesNot) {
    EXPECT_EQ(next_epoch(77, 0), 77);
    EXPECT_EQ(next_epoch(77, row().epoch), 1001);
    EXPECT_EQ(next_epoch(5000, row().epoch), 5000);
}

TEST(RelayState, TokensDiffer) {
    EXPECT_EQ(random_token().size(), 32u);
    EXPECT_NE(random_token(), random_token());
}

TEST(RelayWire, Topics) {
    const TopicPositions topics = {{"parking", {12, 0x16B3748, 1700000000000000}}, {"x", {}}};
    EXPECT_EQ(to_json(topics),
              "{\"parking\":{\"sequence\":12,\"lsn\":\"0/16B3748\",\"time\":1700000000000000},"
              "\"x\":{\"sequence\":0,\"lsn\":\"0/0\",\"time\":0}}");
    EXPECT_EQ(topics_from_json(to_json(topics)), topics);
    EXPECT_TRUE(topics_from_json("{}").empty());
    EXPECT_THROW(topics_from_json("{"), std::invalid_argument);
    EXPECT_THROW(topics_from_json("{\"a\":{\"sequence\":\"x\"}}"), std::invalid_argument);
    EXPECT_THROW(topics_from_json("[]"), std::invalid_argument);
}

TEST(RelayWire, Source) {
    EXPECT_EQ(make_source("parking_db", "7123", "1"), "/parking_db/7123/1");
    EXPECT_EQ(make_source("a b/\xc3\xa4", "7", "2"), "/a%20b%2F%C3%A4/7/2");
}

TEST(RelayWire, MessageIdsFitAShortstr) {
    EXPECT_EQ(message_id({"/db/1/1", 5}, "parking", 9), "/db/1/1:5:parking:9");
    const std::string longest = message_id({std::string(400, 'x'), 5}, std::string(50, 't'), 9);
    EXPECT_LE(longest.size(), 255u);
    EXPECT_EQ(longest.substr(16), ":5:" + std::string(50, 't') + ":9");
}

TEST(RelayWire, Heartbeat) {
    Checkpoint c;
    c.session = std::make_shared<const Session>(Session{"/db/1/1", 5});
    c.lsn = 0x100000010;
    c.time_us = 1795466733661507;
    c.topics = std::make_shared<const TopicPositions>(TopicPositions{{"parking", {12, 255, 1}}});
    EXPECT_EQ(heartbeat_body(c),
              "{\"source\":\"/db/1/1\",\"epoch\":5,\"lsn\":\"1/10\","
              "\"time\":\"2026-11-23T20:45:33.661507Z\","
              "\"topics\":{\"parking\":{\"sequence\":12,\"lsn\":\"0/FF\"}}}");
}

TEST(RelayWire, Properties) {
    Message m;
    m.session = std::make_shared<const Session>(Session{"/db/1/1", 5});
    m.topic = "parking";
    m.sequence = 9;
    m.count = 2;
    m.lsn = 255;
    m.committed_us = 1700000000123456;
    m.more = true;
    auto p = properties_of(m);
    EXPECT_TRUE(p.persistent);
    EXPECT_EQ(p.timestamp, 1700000000u);
    EXPECT_EQ(p.headers.count("CC"), 0u);
    EXPECT_EQ(std::get<bool>(p.headers.at("cqrs-more")), true);
    EXPECT_EQ(std::get<std::string>(p.headers.at("cqrs-previous-lsn")), "0/0");
    m.other_types = {"parking.update"};
    EXPECT_EQ(std::get<std::vector<std::string>>(properties_of(m).headers.at("CC")), m.other_types);
}

TEST(RelayHandoff, BoundedByBytesUntilReleased) {
    Handoff handoff(10);
    std::deque<Message> messages(2);
    messages[0].body = messages[1].body = "123456";
    handoff.push(messages);
    EXPECT_TRUE(messages.empty());
    EXPECT_TRUE(handoff.full());
    EXPECT_EQ(handoff.pending(), 2u);
    std::deque<Handoff::Item> items;
    handoff.take(items);
    EXPECT_EQ(items.size(), 2u);
    EXPECT_TRUE(handoff.full());
    handoff.want_progress();
    handoff.release(1, 6);
    EXPECT_FALSE(handoff.full());
    pollfd p{handoff.reader().fd(), POLLIN, 0};
    EXPECT_EQ(poll(&p, 1, 0), 1);
}

// The reader waits for released() to come to what pushed() was: it must, whatever becomes of them.
TEST(RelayHandoff, WhatWasPushedIsPendingOrReleased) {
    Handoff handoff(100);
    const auto push = [&](std::size_t count) {
        std::deque<Message> messages(count);
        handoff.push(messages);
    };
    push(3);
    EXPECT_EQ(handoff.pushed(), 3u);
    std::deque<Handoff::Item> taken;
    handoff.take(taken);
    handoff.release(1, 0);
    EXPECT_EQ(handoff.released(), 1u);
    push(2);  // never taken
    handoff.reset();
    EXPECT_EQ(handoff.released() + handoff.pending(), handoff.pushed());
    handoff.release(2, 0);
    EXPECT_EQ(handoff.released(), handoff.pushed());
    EXPECT_EQ(handoff.pending(), 0u);
}

TEST(RelayHandoff, ResetForgetsAndSaysSo) {
    Handoff handoff(100);
    std::deque<Message> messages(1);
    messages[0].body = "123";
    handoff.push(messages);
    handoff.confirm(Checkpoint{});
    handoff.reset();
    EXPECT_EQ(handoff.pending(), 0u);
    EXPECT_FALSE(handoff.confirmed());
    std::deque<Handoff::Item> items;
    handoff.take(items);
    ASSERT_EQ(items.size(), 1u);
    EXPECT_TRUE(std::holds_alternative<Handoff::Reset>(items[0]));
}

TEST(RelayHandoff, CheckpointsInARowMerge) {
    Handoff handoff(100);
    Checkpoint c;
    c.lsn = 1;
    c.heartbeat = true;
    handoff.push(c);
    c.lsn = 2;
    c.heartbeat = false;
    handoff.push(c);
    std::deque<Handoff::Item> items;
    handoff.take(items);
    ASSERT_EQ(items.size(), 1u);
    EXPECT_EQ(std::get<Checkpoint>(items[0]).lsn, 2u);
    EXPECT_TRUE(std::get<Checkpoint>(items[0]).heartbeat);
}

TEST(RelayNotify, Payloads) {
    EXPECT_EQ(notify_payload("{\"id\":\"0/1.1\"}"), "{\"id\":\"0/1.1\"}");
    std::string event = "{\"id\":\"0/1.1\",\"data\":\"\"}";
    event.insert(event.size() - 2, 8000 - event.size(), 'x');
    ASSERT_EQ(event.size(), 8000u);
    EXPECT_EQ(notify_payload(event), "0/1.1");
    event.erase(event.size() - 3, 1);
    EXPECT_EQ(notify_payload(event), event);
}

TEST(RelayNotify, ArrayLiterals) {
    EXPECT_EQ(
        array_literal({{"a", "{\"x\":\"\\n\"}"}, {"b", ""}}, &Notifier::Notification::payload),
        "{\"{\\\"x\\\":\\\"\\\\n\\\"}\",\"\"}");
}

TEST(RelayWatchdog, BitesOnlyWhatHangs) {
    Wakeup bitten;
    Watchdog dog(0ms, [&] { bitten.signal(); });
    pollfd p{bitten.fd(), POLLIN, 0};
    {
        const Watchdog::Guard guard(dog);
        EXPECT_EQ(poll(&p, 1, 10000), 1);
    }
}

}  // namespace
