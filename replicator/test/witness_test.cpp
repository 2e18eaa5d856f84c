// What the broker knows of the numbering against what the primary brings.
#include <gtest/gtest.h>

#include "relay/wire.hpp"
#include "relay/witness.hpp"

namespace {

using namespace cqrs;
using namespace cqrs::relay;

constexpr const char* source = "/db/7/1";

RelayState row() {
    RelayState s;
    s.epoch = 1000;
    s.lsn = 500;
    s.topics = {{"a", {10, 400, 1}}, {"b", {3, 300, 2}}};
    return s;
}

Witness witness() {
    return {source, 1000, 700, {{"a", {15, 650, 9}}, {"b", {3, 300, 2}}}};
}

Frame frame(const char* topic, Lsn safe, std::vector<FrameCommit> commits) {
    Frame f;
    f.kind = FrameKind::events;
    f.topic = topic;
    f.safe_lsn = safe;
    f.commits = std::move(commits);
    return f;
}

Frame progress(Lsn safe) {
    Frame f;
    f.kind = FrameKind::progress;
    f.safe_lsn = safe;
    return f;
}

TEST(RelayWitness, SurvivesTheJourney) {
    Checkpoint checkpoint;
    checkpoint.session = std::make_shared<Session>(Session{source, 1000});
    checkpoint.lsn = 700;
    checkpoint.topics = std::make_shared<TopicPositions>(witness().topics);
    const auto back = parse_witness(to_json(checkpoint));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->source, source);
    EXPECT_EQ(back->epoch, 1000);
    EXPECT_EQ(back->lsn, 700U);
    EXPECT_EQ(back->topics, witness().topics);
    for (const char* bad :
         {"", "{}", "[]", "null", R"({"source":"s","epoch":1,"lsn":"x","topics":"{}"})"})
        EXPECT_FALSE(parse_witness(bad)) << bad;
}

TEST(RelayWitness, ContradictsARestoredPrimary) {
    EXPECT_EQ(contradicted(row(), source, witness(), 700), "");
    EXPECT_NE(contradicted(row(), source, witness(), 699), "");  // WAL that is gone
    Witness newer = witness();
    newer.epoch = 1001;
    EXPECT_NE(contradicted(row(), source, newer, 900), "");
    Witness older = witness();
    older.epoch = 999;
    EXPECT_EQ(contradicted(row(), source, older, 1), "");
    EXPECT_EQ(contradicted(row(), "/db/8/1", witness(), 1), "");  // another primary's
    Witness same = witness();
    same.topics["b"].time_us = 5;  // as many events, but others
    EXPECT_NE(contradicted(row(), source, same, 900), "");
    Witness behind = witness();
    behind.lsn = 450;  // relay_state is past it and has not heard of event 15
    EXPECT_NE(contradicted(row(), source, behind, 900), "");
}

TEST(RelayRecall, TheSameEventsAgain) {
    Recall recall(row(), witness());
    ASSERT_TRUE(recall.pending());
    EXPECT_EQ(recall.check(progress(600), 0), "");
    EXPECT_EQ(recall.check(frame("b", 600, {{1, 620, 4}}), 3), "");
    EXPECT_EQ(recall.check(frame("a", 600, {{2, 610, 3}, {2, 650, 9}}), 10), "");  // goes on
    EXPECT_TRUE(recall.pending());
    EXPECT_EQ(recall.check(frame("a", 650, {{1, 650, 9}, {7, 680, 9}}), 14), "");
    EXPECT_FALSE(recall.pending());
}

TEST(RelayRecall, OtherEvents) {
    EXPECT_NE(Recall(row(), witness()).check(frame("a", 600, {{5, 651, 9}}), 10), "");
    EXPECT_NE(Recall(row(), witness()).check(frame("a", 600, {{5, 650, 8}}), 10), "");
    EXPECT_NE(Recall(row(), witness()).check(frame("a", 700, {{4, 650, 9}}), 10), "");  // too few
    EXPECT_NE(Recall(row(), witness()).check(progress(700), 0), "");                    // none
    EXPECT_EQ(Recall(row(), witness()).check(progress(699), 0), "");
}

TEST(RelayRecall, NothingToRecall) {
    Witness done = witness();
    done.topics["a"] = {10, 400, 1};
    EXPECT_FALSE(Recall(row(), done).pending());
    EXPECT_FALSE(Recall().pending());
    EXPECT_EQ(Recall().check(progress(9999), 0), "");
}

}  // namespace
