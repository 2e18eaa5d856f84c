#include "frame.hpp"

#include <gtest/gtest.h>

namespace cqrs {
namespace {

void add(FrameBuilder& builder, std::string_view json, std::string_view type, Lsn lsn,
         std::int64_t time_us, bool notify = false) {
    builder.begin_event().append(json);
    builder.end_event(type, notify, lsn, time_us);
}

std::string sample() {
    FrameBuilder builder("parking");
    add(builder, R"({"a":1})", "parking.create", 100, 1000, true);
    add(builder, R"({"b":2})", "parking.update", 100, 1000);
    add(builder, R"({"c":33})", "parking.create", 200, 2000, true);
    std::string bytes;
    builder.encode(bytes, true, 99, 1234);
    return bytes;
}

TEST(Frame, RoundTrip) {
    const std::string bytes = sample();
    Frame frame;
    decode_frame(bytes, frame);
    EXPECT_EQ(frame.kind, FrameKind::events);
    EXPECT_TRUE(frame.more);
    EXPECT_EQ(frame.safe_lsn, 99U);
    EXPECT_EQ(frame.time_us, 1234);
    EXPECT_EQ(frame.topic, "parking");
    EXPECT_EQ(frame.body, R"({"a":1},{"b":2},{"c":33})");
    ASSERT_EQ(frame.types.size(), 2U);
    EXPECT_EQ(frame.types[0].name, "parking.create");
    EXPECT_TRUE(frame.types[0].notify);
    EXPECT_FALSE(frame.types[1].notify);
    ASSERT_EQ(frame.commits.size(), 2U);
    EXPECT_EQ(frame.commits[0].events, 2U);
    EXPECT_EQ(frame.commits[1].end_lsn, 200U);
    EXPECT_EQ(frame.commits[1].time_us, 2000);
    ASSERT_EQ(frame.events.size(), 3U);
    EXPECT_EQ(frame.events[2].json, R"({"c":33})");
    EXPECT_EQ(frame.events[2].type, 0);
}

// What a server's plugin wrote (Postgres 15.20): the format is a promise, not only a round trip.
TEST(Frame, DecodesWhatTheServerWrote) {
    constexpr std::string_view head =
        "4351463101000001000000000d4b6d00000660fa8cffb280000000030000000100000003000002107400"
        "08742e6372656174650006742e646f6e650008742e75706461746500000003000000000d4b6d00000660"
        "fa8cefc5f4000000c00000000000780001000000d60002";
    const std::string events[] = {
        R"x({"specversion":"1.0","id":"0/D4B6D00.1","source":"/test","type":"t.creat)x"
        R"x(e","time":"2026-11-24T00:11:22.878452Z","data":{"id":1,"v":"ü","n":null,)x"
        R"x("ts":null,"j":null,"u":null,"b":null,"f":null}})x",
        R"x({"specversion":"1.0","id":"0/D4B6D00.2","source":"/test","type":"t.done")x"
        R"x(,"time":"2026-11-24T00:11:22.878452Z","data":{}})x",
        R"x({"specversion":"1.0","id":"0/D4B6D00.3","source":"/test","type":"t.updat)x"
        R"x(e","time":"2026-11-24T00:11:22.878452Z","oldkey":"{\"id\":1}","data":{"i)x"
        R"x(d":2,"v":"ü","n":null,"ts":null,"j":null,"u":null,"b":null,"f":null}})x",
    };
    std::string bytes;
    for (std::size_t i = 0; i < head.size(); i += 2)
        bytes.push_back(static_cast<char>(std::stoi(std::string(head.substr(i, 2)), nullptr, 16)));
    bytes += events[0] + "," + events[1] + "," + events[2];
    Frame frame;
    decode_frame(bytes, frame);
    EXPECT_FALSE(frame.more);
    EXPECT_EQ(frame.safe_lsn, 0xD4B6D00U);
    EXPECT_EQ(frame.topic, "t");
    ASSERT_EQ(frame.commits.size(), 1U);
    EXPECT_EQ(frame.commits[0].end_lsn, 0xD4B6D00U);
    EXPECT_EQ(frame.commits[0].time_us, 1795479082878452);
    ASSERT_EQ(frame.events.size(), 3U);
    for (std::size_t i = 0; i < 3; i++) EXPECT_EQ(frame.events[i].json, events[i]);
    EXPECT_EQ(frame.types[frame.events[1].type].name, "t.done");

    // The builder makes the same bytes of it.
    FrameBuilder builder("t");
    for (std::size_t i = 0; i < 3; i++)
        add(builder, events[i], frame.types[frame.events[i].type].name, 0xD4B6D00,
            1795479082878452);
    std::string again;
    builder.encode(again, false, frame.safe_lsn, frame.time_us);
    EXPECT_EQ(again, bytes);
}

TEST(Frame, Progress) {
    std::string bytes;
    encode_progress(bytes, 0xFFFFFFFFFFFFFFFF, -5);
    Frame frame;
    decode_frame(bytes, frame);
    EXPECT_EQ(frame.kind, FrameKind::progress);
    EXPECT_EQ(frame.safe_lsn, 0xFFFFFFFFFFFFFFFF);
    EXPECT_EQ(frame.time_us, -5);
    EXPECT_TRUE(frame.events.empty());
    EXPECT_THROW(decode_frame(bytes + "x", frame), FrameError);
}

TEST(Frame, RollbackForgetsTheEvent) {
    FrameBuilder builder("t");
    builder.begin_event().append("half an ev");
    builder.rollback_event();
    EXPECT_TRUE(builder.empty());
    EXPECT_EQ(builder.body_size(), 0U);
    add(builder, "{}", "t.create", 1, 1);
    builder.begin_event().append("another");
    builder.rollback_event();
    add(builder, "[]", "t.create", 1, 1);
    EXPECT_EQ(builder.last_lsn(), 1U);
    std::string bytes;
    builder.encode(bytes, false, 1, 0);
    Frame frame;
    decode_frame(bytes, frame);
    EXPECT_EQ(frame.body, "{},[]");
    builder.clear();
    EXPECT_TRUE(builder.empty());
    EXPECT_EQ(builder.last_lsn(), 0U);
}

TEST(Frame, TooManyTypesThrow) {
    FrameBuilder builder("t");
    for (std::size_t i = 0; i < FrameBuilder::kMaxTypes; i++)
        add(builder, "{}", "t." + std::to_string(i), 1, 1);
    EXPECT_EQ(builder.type_count(), FrameBuilder::kMaxTypes);
    EXPECT_THROW(add(builder, "{}", "t.more", 1, 1), FrameError);
    builder.rollback_event();
    add(builder, "{}", "t.0", 1, 1);
}

TEST(Frame, EveryTruncationIsRefused) {
    const std::string bytes = sample();
    Frame frame;
    for (std::size_t n = 0; n < bytes.size(); n++)
        EXPECT_THROW(decode_frame(std::string_view(bytes).substr(0, n), frame), FrameError) << n;
    EXPECT_THROW(decode_frame(bytes + '\0', frame), FrameError);
}

TEST(Frame, EveryFlippedByteIsRefusedOrConsistent) {
    const std::string bytes = sample();
    Frame frame;
    for (std::size_t n = 0; n < bytes.size(); n++) {
        for (int bit = 0; bit < 8; bit++) {
            std::string broken = bytes;
            broken[n] = static_cast<char>(broken[n] ^ (1 << bit));
            try {
                decode_frame(broken, frame);
            } catch (const FrameError&) {
                continue;
            }
            std::size_t events = 0;
            for (const FrameCommit& commit : frame.commits) events += commit.events;
            EXPECT_EQ(events, frame.events.size());
            for (const FrameEvent& event : frame.events) {
                EXPECT_LT(event.type, frame.types.size());
                EXPECT_GE(event.json.data(), broken.data());
                EXPECT_LE(event.json.data() + event.json.size(), broken.data() + broken.size());
            }
        }
    }
}

}  // namespace
}  // namespace cqrs
