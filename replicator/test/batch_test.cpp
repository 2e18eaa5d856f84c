#include "relay/batch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace {

using namespace cqrs;
using namespace cqrs::relay;

struct TestEvent {
    std::string type, json;
    Lsn commit;
};

// A frame as the plugin encodes it; decoded views stay valid as long as this.
class EncodedFrame {
  public:
    EncodedFrame(const std::string& topic, const std::vector<TestEvent>& events, bool more = false,
                 Lsn safe = 0) {
        FrameBuilder builder(topic);
        for (const TestEvent& e : events) {
            builder.begin_event() += e.json;
            builder.end_event(e.type, false, e.commit, static_cast<std::int64_t>(e.commit) * 10);
        }
        builder.encode(bytes_, more, safe, 1);
        decode_frame(bytes_, frame_);
    }
    const Frame& get() const { return frame_; }

  private:
    std::string bytes_;
    Frame frame_;
};

SessionPtr session() {
    return std::make_shared<const Session>(Session{"/db/1/1", 7});
}

std::string json(int n, std::size_t size = 0) {
    std::string text = "{\"n\":" + std::to_string(n) + "}";
    if (text.size() < size) text.insert(text.size() - 1, size - text.size(), ' ');
    return text;
}

TEST(Batch, OneFrameOneMessage) {
    Batcher batcher({}, session(), {});
    std::deque<Message> out;
    batcher.add(EncodedFrame("a", {{"a.create", json(1), 100}, {"a.update", json(2), 100}}).get(),
                out);
    EXPECT_TRUE(out.empty());
    EXPECT_FALSE(batcher.empty());
    batcher.flush(out);
    EXPECT_TRUE(batcher.empty());
    ASSERT_EQ(out.size(), 1u);
    const Message& m = out[0];
    EXPECT_EQ(m.topic, "a");
    EXPECT_EQ(m.body, "[{\"n\":1},{\"n\":2}]");
    EXPECT_EQ(m.routing_key, "a.create");
    EXPECT_EQ(m.other_types, std::vector<std::string>{"a.update"});
    EXPECT_EQ(m.sequence, 1);
    EXPECT_EQ(m.count, 2);
    EXPECT_EQ(m.lsn, 100u);
    EXPECT_EQ(m.previous_lsn, 0u);
    EXPECT_EQ(m.committed_us, 1000);
    EXPECT_FALSE(m.more);
    EXPECT_EQ(m.session->epoch, 7);
}

TEST(Batch, FramesMergeAndNumbersGoOn) {
    Batcher batcher({}, session(), {{"a", {41, 50, 500}}});
    std::deque<Message> out;
    batcher.add(EncodedFrame("a", {{"a.create", json(1), 100}}).get(), out);
    batcher.add(EncodedFrame("a", {{"a.delete", json(2), 200}, {"a.create", json(3), 300}}).get(),
                out);
    batcher.flush(out);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(out[0].sequence, 42);
    EXPECT_EQ(out[0].count, 3);
    EXPECT_EQ(out[0].previous_lsn, 50u);
    EXPECT_EQ(out[0].lsn, 300u);
    EXPECT_EQ(out[0].other_types, std::vector<std::string>{"a.delete"});
    EXPECT_EQ(batcher.positions().at("a"), (TopicPosition{44, 300, 3000}));
    batcher.add(EncodedFrame("a", {{"a.create", json(4), 400}}).get(), out);
    batcher.flush(out);
    EXPECT_EQ(out[1].previous_lsn, 300u);
    EXPECT_EQ(out[1].sequence, 45);
}

TEST(Batch, TopicsAreNumberedApart) {
    Batcher batcher({}, session(), {});
    std::deque<Message> out;
    batcher.add(EncodedFrame("a", {{"a.create", json(1), 100}}).get(), out);
    batcher.add(EncodedFrame("b", {{"b.create", json(2), 100}}).get(), out);
    batcher.flush(out);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(out[0].sequence, 1);
    EXPECT_EQ(out[1].sequence, 1);
    EXPECT_EQ(batcher.sequence("b"), 1);
    EXPECT_EQ(batcher.sequence("c"), 0);
}

TEST(Batch, MaxBatchOfOneCutsInsideTransactions) {
    Batcher batcher({65536, 1, 1 << 20}, session(), {});
    std::deque<Message> out;
    batcher.add(
        EncodedFrame("a", {{"a.x", json(1), 100}, {"a.x", json(2), 100}, {"a.y", json(3), 200}},
                     true)
            .get(),
        out);
    ASSERT_EQ(out.size(), 3u);
    EXPECT_TRUE(out[0].more);   // the relay's own cut
    EXPECT_FALSE(out[1].more);  // the commit's end
    EXPECT_TRUE(out[2].more);   // as the frame says
    EXPECT_EQ(out[0].lsn, 100u);
    EXPECT_EQ(out[1].previous_lsn, 100u);
    EXPECT_EQ(out[2].routing_key, "a.y");
    EXPECT_TRUE(out[2].other_types.empty());
    EXPECT_TRUE(batcher.empty());
}

TEST(Batch, TransactionOverSeveralFrames) {
    Batcher batcher({}, session(), {});
    std::deque<Message> out;
    batcher.add(EncodedFrame("a", {{"a.x", json(1), 100}}, true).get(), out);
    batcher.flush(out);
    batcher.add(EncodedFrame("a", {{"a.x", json(2), 100}}, false).get(), out);
    batcher.flush(out);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_TRUE(out[0].more);
    EXPECT_FALSE(out[1].more);
    EXPECT_EQ(out[1].previous_lsn, 100u);
}

TEST(Batch, AFrameOfFullSizeStaysWhole) {
    Batcher batcher({1000, 0, 1 << 20}, session(), {});
    std::deque<Message> out;
    batcher.add(EncodedFrame("a", {{"a.x", json(1, 600), 1}}).get(), out);
    EXPECT_TRUE(out.empty());
    batcher.add(EncodedFrame("a", {{"a.x", json(2, 600), 2}, {"a.x", json(3, 600), 3}}).get(), out);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(out[0].count, 1);
    EXPECT_EQ(out[1].count, 2);
}

TEST(Batch, NeverBeyondTheMessageLimitUnlessOneEventIs) {
    Batcher batcher({1000, 0, 1000}, session(), {});
    std::deque<Message> out;
    batcher.add(EncodedFrame("a", {{"a.x", json(1, 500), 1},
                                   {"a.x", json(2, 500), 1},
                                   {"a.x", json(3, 3000), 1},
                                   {"a.x", json(4, 10), 1}})
                    .get(),
                out);
    batcher.flush(out);
    ASSERT_EQ(out.size(), 4u);
    EXPECT_EQ(out[2].body.size(), 3002u);
    for (int i : {0, 1, 3}) EXPECT_LE(out[i].body.size(), 1000u);
    EXPECT_TRUE(out[0].more);
    EXPECT_FALSE(out[3].more);
}

// Whatever the limits: the same events, numbers without holes, cuts marked right.
TEST(Batch, RandomCutsLoseNothing) {
    std::mt19937 random(1);
    for (int round = 0; round < 300; ++round) {
        BatchLimits limits{1 + random() % 400, random() % 5, 50 + random() % 500};
        Batcher batcher(limits, session(), {});
        std::deque<Message> out;
        std::vector<TestEvent> all;
        Lsn lsn = 10;
        for (int f = 0; f < 10; ++f) {
            std::vector<TestEvent> events;
            const int n = 1 + static_cast<int>(random() % 8);
            bool more = false;
            for (int i = 0; i < n; ++i) {
                events.push_back({random() % 2 ? "a.x" : "a.y",
                                  json(static_cast<int>(all.size()), random() % 60), lsn});
                all.push_back(events.back());
                more = random() % 3 == 0;
                if (!more) lsn += 10;
            }
            batcher.add(EncodedFrame("a", events, more).get(), out);
            if (random() % 2) batcher.flush(out);
        }
        batcher.flush(out);
        std::size_t at = 0;
        for (const Message& m : out) {
            ASSERT_EQ(m.sequence, static_cast<std::int64_t>(at) + 1);
            ASSERT_EQ(m.previous_lsn, at ? all[at - 1].commit : 0);
            if (limits.max_batch) {
                ASSERT_LE(m.count, static_cast<std::int64_t>(limits.max_batch));
            }
            std::string expected = "[";
            for (int i = 0; i < m.count; ++i) {
                if (i) expected += ',';
                expected += all.at(at).json;
                ASSERT_TRUE(m.routing_key == all[at].type ||
                            std::count(m.other_types.begin(), m.other_types.end(), all[at].type));
                ++at;
            }
            ASSERT_EQ(m.body, expected + "]");
            ASSERT_EQ(m.lsn, all[at - 1].commit);
            if (at < all.size()) {
                ASSERT_EQ(m.more, all[at].commit == all[at - 1].commit);
            }
            if (m.count > 1) {
                ASSERT_LE(m.body.size(), limits.max_message_bytes);
            }
        }
        ASSERT_EQ(at, all.size());
    }
}

}  // namespace
