#include "frame.hpp"

#include <gtest/gtest.h>

namespace cqrs {
namespace {

void add(FrameBuilder& builder, std::string_view json, std::string_view type, Lsn lsn,
         bool notify = false) {
    builder.begin_event().append(json);
    builder.end_event(type, notify, lsn, static_cast<std::int64_t>(lsn) * 10);
}

std::string sample() {
    FrameBuilder builder("parking");
    add(builder, R"({"a":1})", "parking.create", 100, true);
    add(builder, R"({"b":2})", "parking.update", 100);
    add(builder, R"({"c":33})", "parking.create", 200, true);
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
    add(builder, "{}", "t.create", 1);
    builder.begin_event().append("another");
    builder.rollback_event();
    add(builder, "[]", "t.create", 1);
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
        add(builder, "{}", "t." + std::to_string(i), 1);
    EXPECT_EQ(builder.type_count(), FrameBuilder::kMaxTypes);
    EXPECT_THROW(add(builder, "{}", "t.more", 1), FrameError);
    builder.rollback_event();
    add(builder, "{}", "t.0", 1);
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
