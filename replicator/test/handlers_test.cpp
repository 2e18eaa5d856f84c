#include "apply/handlers.hpp"

#include <gtest/gtest.h>

#include "apply/message.hpp"
#include "apply_fixture.hpp"

namespace cqrs::apply {
namespace {

TEST(Handlers, MatchAsRoutingKeysDo) {
    EXPECT_TRUE(matches("parking.create", "parking.create"));
    EXPECT_FALSE(matches("parking.create", "parking.created"));
    EXPECT_FALSE(matches("parking.create", "parking"));
    EXPECT_TRUE(matches("parking.*", "parking.create"));
    EXPECT_FALSE(matches("parking.*", "parking"));
    EXPECT_FALSE(matches("parking.*", "parking.reservation.create"));
    EXPECT_TRUE(matches("parking.*.create", "parking.reservation.create"));
    EXPECT_TRUE(matches("parking.#", "parking"));
    EXPECT_TRUE(matches("parking.#", "parking.reservation.create"));
    EXPECT_FALSE(matches("parking.#", "parkings.create"));
    EXPECT_TRUE(matches("parking.#.create", "parking.create"));
    EXPECT_TRUE(matches("parking.#.create", "parking.a.b.create"));
    EXPECT_FALSE(matches("parking.#.create", "parking.a.b.update"));
    EXPECT_TRUE(matches("parking.#.a.#", "parking.b.a.c"));
}

Registration live(const std::string& pattern) {
    Registration r;
    r.pattern = pattern;
    r.state = Registration::State::live;
    return r;
}

std::string event(const std::string& id, const std::string& type) {
    return R"({"specversion":"1.0","id":")" + id + R"(","source":"/x","type":")" + type +
           R"(","time":"2026-01-01T00:00:00.000000Z","data":{"a":"1","b":[1, {"c":null}]}})";
}

struct Decoded {
    explicit Decoded(Handlers& handlers, const std::vector<std::string>& events) {
        Decoder decoder(tables, &handlers);
        message.head.sequence = 1;
        message.head.count = static_cast<std::int64_t>(events.size());
        for (const auto& e : events) message.body += (message.body.empty() ? "[" : " , ") + e;
        message.body += " ]";
        decoder.decode(message, 1);
    }
    std::vector<Table> tables;
    Message message;
};

TEST(Handlers, GetTheEventAsItWasSent) {
    Handlers handlers;
    handlers.add(live("order.#"), {"1", "f"});
    const std::string first = event("0/A.1", "order.create"), other = event("0/A.2", "odd.create"),
                      last = event("0/A.3", "order.x.opened");
    Decoded decoded(handlers, {first, other, last});
    const auto& events = decoded.message.events;
    ASSERT_EQ(events.size(), 3u);
    EXPECT_EQ(events[0].json, first);
    EXPECT_EQ(events[1].json, "");
    EXPECT_EQ(events[1].handlers, nullptr);
    EXPECT_EQ(events[2].json, last);
    EXPECT_EQ(events[2].handlers, events[0].handlers) << "one set for both types";
}

TEST(Handlers, KnowWhatTheirBackfillHeld) {
    Registration r = live("order.#");
    r.backfill = true;
    r.prefixes = {"order"};
    r.snapshot_lsn = 0xA;
    Handlers handlers;
    handlers.add(r, {"1", "f"});
    Decoded decoded(handlers, {event("0/A.1", "order.create"), event("0/A.2", "order.line.create"),
                               event("0/A.3", "order.opened"), event("0/A.4", "order.resync"),
                               event("0/B.1", "order.update"), event("0/B.2", "order.resync")});
    const auto& events = decoded.message.events;
    const auto& registration = handlers.registrations()[0];
    EXPECT_TRUE(registration.covers(events[0]));
    EXPECT_FALSE(registration.covers(events[1])) << "another table";
    EXPECT_FALSE(registration.covers(events[2])) << "a domain event";
    EXPECT_FALSE(registration.covers(events[4])) << "after it";
    EXPECT_FALSE(handlers.order(events[3])) << "in the backfill already";
    EXPECT_FALSE(handlers.order(events[4]));
    EXPECT_TRUE(handlers.order(events[5]));
}

TEST(Handlers, OfOneFunctionCountOnce) {
    Handlers handlers;
    handlers.add(live("order.create"), {"1", "f"});
    handlers.add(live("order.#"), {"2", "g"});
    handlers.add(live("order.*"), {"1", "f"});
    EXPECT_EQ(handlers.functions().size(), 2u);
    EXPECT_EQ(*handlers.matching("order.create"), (Handlers::Matches{0, 1, 2}));
    EXPECT_EQ(*handlers.matching("order.a.b"), (Handlers::Matches{1}));
    EXPECT_EQ(handlers.matching("odd"), nullptr);
}

TEST(Handlers, ThatAreStoppedGetNothing) {
    Handlers handlers;
    Registration r = live("order.#");
    r.state = Registration::State::stopped;
    handlers.add(r, {"1", "f"});
    EXPECT_EQ(handlers.matching("order.create"), nullptr);
    EXPECT_FALSE(handlers.pending());
}

}  // namespace
}  // namespace cqrs::apply
