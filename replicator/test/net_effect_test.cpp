#include "apply/net_effect.hpp"

#include <gtest/gtest.h>

#include "apply_fixture.hpp"

namespace cqrs::apply {
namespace {

using test::Events;
using test::make_table;
using test::show;

class NetEffect : public ::testing::Test {
  protected:
    std::vector<std::string> rows(const std::vector<NetRow>& list) {
        std::vector<std::string> out;
        for (const NetRow& r : list) out.push_back(show(table, r.row));
        return out;
    }
    std::vector<std::string> keys(const std::vector<const Field*>& list) {
        std::vector<std::string> out;
        for (const Field* f : list) out.emplace_back(f[0].text());
        return out;
    }
    std::vector<Step> steps() {
        held = events.all();
        return net_effect(held, arena);
    }
    TableChange only() {
        auto all = steps();
        EXPECT_EQ(all.size(), 1U);
        EXPECT_EQ(all.at(0).tables.size(), 1U);
        return all.at(0).tables.at(0);
    }
    using Strings = std::vector<std::string>;

    Table table = make_table("parking", {"id", "name", "status"}, {0});
    Events events{table};
    std::vector<const Event*> held;
    Arena arena;
};

TEST_F(NetEffect, CreatesAlone) {
    events.add(Verb::create, {"1", "a", "x"});
    events.add(Verb::create, {"2", "b", "NULL"});
    const auto c = only();
    EXPECT_EQ(rows(c.inserts), (Strings{"1 a x", "2 b NULL"}));
    EXPECT_TRUE(c.updates.empty());
    EXPECT_TRUE(c.deletes.empty());
    EXPECT_FALSE(c.irregular);
}

TEST_F(NetEffect, UpdateOfACreatedRowIsOneInsert) {
    events.add(Verb::create, {"1", "a", "x"});
    events.add(Verb::update, {"1", "b", std::nullopt});
    const auto c = only();
    EXPECT_EQ(rows(c.inserts), (Strings{"1 b x"}));
    EXPECT_EQ(c.inserts[0].pattern, 0U);
}

TEST_F(NetEffect, PartialUpdatesMergeTheirColumns) {
    events.add(Verb::update, {"1", std::nullopt, "x"});
    events.add(Verb::update, {"1", "b", std::nullopt});
    const auto c = only();
    EXPECT_EQ(rows(c.updates), (Strings{"1 b x"}));
    EXPECT_EQ(c.updates[0].pattern, 0U);
}

TEST_F(NetEffect, AbsentIsNotNull) {
    events.add(Verb::update, {"1", "a", "NULL"});
    events.add(Verb::update, {"1", "b", std::nullopt});
    EXPECT_EQ(rows(only().updates), (Strings{"1 b NULL"}));
}

TEST_F(NetEffect, PartialUpdateKeepsItsPattern) {
    events.add(Verb::update, {"1", "a", std::nullopt});
    events.add(Verb::update, {"2", "b", "y"});
    const auto c = only();
    EXPECT_NE(c.updates[0].pattern, 0U);
    EXPECT_EQ(c.updates[1].pattern, 0U);
    EXPECT_EQ(table.pattern(c.updates[0].pattern).absent, (std::vector<std::uint32_t>{2}));
}

TEST_F(NetEffect, CreateAndDeleteCancel) {
    events.add(Verb::create, {"1", "a", "x"});
    events.add(Verb::remove, {"1"});
    const auto c = only();
    EXPECT_TRUE(c.inserts.empty());
    EXPECT_TRUE(c.deletes.empty());
    EXPECT_FALSE(c.irregular);
}

TEST_F(NetEffect, DeleteAndCreateReplace) {
    events.add(Verb::remove, {"1"});
    events.add(Verb::create, {"1", "b", "y"});
    const auto c = only();
    EXPECT_EQ(keys(c.deletes), (Strings{"1"}));
    EXPECT_EQ(rows(c.inserts), (Strings{"1 b y"}));
}

TEST_F(NetEffect, UpdateThenDeleteDeletes) {
    events.add(Verb::update, {"1", "a", "x"});
    events.add(Verb::remove, {"1"});
    const auto c = only();
    EXPECT_EQ(keys(c.deletes), (Strings{"1"}));
    EXPECT_TRUE(c.updates.empty());
}

TEST_F(NetEffect, DeleteCreateDelete) {
    events.add(Verb::remove, {"1"});
    events.add(Verb::create, {"1", "b", "y"});
    events.add(Verb::remove, {"1"});
    const auto c = only();
    EXPECT_EQ(keys(c.deletes), (Strings{"1"}));
    EXPECT_TRUE(c.inserts.empty());
    EXPECT_FALSE(c.irregular);
}

TEST_F(NetEffect, TruncateForgetsWhatCameBefore) {
    events.add(Verb::create, {"1", "a", "x"});
    events.add(Verb::update, {"2", "a", "x"});
    events.add(Verb::truncate, {});
    events.add(Verb::create, {"3", "c", "z"});
    const auto c = only();
    EXPECT_TRUE(c.truncate);
    EXPECT_EQ(rows(c.inserts), (Strings{"3 c z"}));
    EXPECT_TRUE(c.updates.empty());
}

TEST_F(NetEffect, WhatCannotHaveBeenIsIrregular) {
    events.add(Verb::create, {"1", "a", "x"});
    events.add(Verb::create, {"1", "b", "y"});
    events.add(Verb::update, {"2", "b", "y"});
    EXPECT_TRUE(only().irregular);
}

TEST_F(NetEffect, UpdateAfterDeleteIsIrregular) {
    events.add(Verb::remove, {"1"});
    events.add(Verb::update, {"1", "b", "y"});
    EXPECT_TRUE(only().irregular);
}

TEST_F(NetEffect, ChangeOfKeyIsAStepAlone) {
    events.add(Verb::create, {"1", "a", "x"});
    events.add(Verb::update, {"2", "a", "x"}, Events::Row{"1"});
    events.add(Verb::create, {"1", "b", "y"});
    const auto s = steps();
    ASSERT_EQ(s.size(), 3U);
    EXPECT_EQ(rows(s[0].tables[0].inserts), (Strings{"1 a x"}));
    EXPECT_EQ(s[1].alone, held[1]);
    EXPECT_EQ(rows(s[2].tables[0].inserts), (Strings{"1 b y"}));
}

TEST_F(NetEffect, OldKeyThatIsTheSameIsNoChange) {
    events.add(Verb::update, {"1", "a", "x"}, Events::Row{"1", "before", "x"});
    EXPECT_EQ(rows(only().updates), (Strings{"1 a x"}));
}

TEST_F(NetEffect, DeleteByAnotherKeyIsAlone) {
    events.add(Verb::remove, {std::nullopt, "a"});
    const auto s = steps();
    ASSERT_EQ(s.size(), 1U);
    EXPECT_EQ(s[0].alone, held[0]);
}

TEST_F(NetEffect, EventsWithoutTableAreNothing) {
    events.add(Verb::create, {"1", "a", "x"}).table = nullptr;
    EXPECT_TRUE(steps().empty());
}

TEST(NetEffectKeys, SeveralColumnsDoNotRunIntoEachOther) {
    const Table table = make_table("t", {"a", "b"}, {0, 1});
    Events events(table);
    events.add(Verb::update, {"1", "23"});
    events.add(Verb::update, {"12", "3"});
    Arena arena;
    const auto held = events.all();
    const auto steps = net_effect(held, arena);
    EXPECT_EQ(steps.at(0).tables.at(0).updates.size(), 2U);
}

TEST(NetEffectTables, EachTableHasItsLists) {
    const Table one = make_table("one", {"id"}, {0}), two = make_table("two", {"id"}, {0});
    Events first(one), second(two);
    first.add(Verb::create, {"1"});
    second.add(Verb::create, {"1"});
    second.add(Verb::truncate, {});
    std::vector<const Event*> held = first.all();
    for (const Event* e : second.all()) held.push_back(e);
    Arena arena;
    const auto steps = net_effect(held, arena);
    ASSERT_EQ(steps.at(0).tables.size(), 2U);
    EXPECT_EQ(steps[0].tables[0].inserts.size(), 1U);
    EXPECT_FALSE(steps[0].tables[0].truncate);
    EXPECT_TRUE(steps[0].tables[1].truncate);
}

// As many rows as make the index grow, and hashes that many keys share.
TEST_F(NetEffect, ManyRowsAreKeptApart) {
    constexpr int rows = 3000;
    for (int i = 0; i < rows; ++i)
        events.add(Verb::create, {{std::to_string(i), "n", "s"}}).key = 1 + 2 * (i % 7);
    for (int i = 0; i < rows; i += 2)
        events.add(Verb::remove, {{std::to_string(i), std::nullopt, std::nullopt}}).key =
            1 + 2 * (i % 7);
    events.add(Verb::update, {{std::to_string(rows), "n", "s"}}).key = 1;
    const TableChange change = only();
    EXPECT_FALSE(change.irregular);
    EXPECT_EQ(change.inserts.size(), rows / 2);
    for (const NetRow& r : change.inserts)
        EXPECT_EQ(std::stoi(std::string(r.row[0].text())) % 2, 1);
    EXPECT_EQ(change.updates.size(), 1U);
    EXPECT_EQ(change.deletes.size(), 0U);
}

}  // namespace
}  // namespace cqrs::apply
