#include "apply/key_set.hpp"

#include <gtest/gtest.h>

#include "apply_fixture.hpp"

namespace cqrs::apply::test {
namespace {

TEST(KeySet, TouchesWhatItHas) {
    const Table table = make_table("a.t", {"id", "name"}, {0});
    Events events(table);
    for (int i = 0; i < 5000; ++i) events.add(Verb::update, {{std::to_string(i), "x"}});
    const KeySet keys(events.all());
    Events others(table);
    for (int i = 0; i < 5000; ++i) {
        EXPECT_TRUE(keys.touches(others.add(Verb::remove, {{std::to_string(i), std::nullopt}})));
        EXPECT_FALSE(keys.touches(others.add(Verb::create, {{std::to_string(5000 + i), "x"}})));
    }
}

TEST(KeySet, TheSameKeyOfAnotherTableIsAnother) {
    const Table one = make_table("a.one", {"id", "name"}, {0});
    Table two = make_table("a.two", {"id", "name"}, {0});
    two.oid = one.oid + 1;
    Events first(one), second(two);
    first.add(Verb::create, {{"1", "x"}});
    const KeySet keys(first.all());
    EXPECT_FALSE(keys.touches(second.add(Verb::create, {{"1", "x"}})));
}

// "1","23" is not "12","3", nor "23","1".
TEST(KeySet, ColumnsOfAKeyAreTheirOwn) {
    const Table table = make_table("a.t", {"a", "b"}, {0, 1});
    Events events(table);
    events.add(Verb::create, {{"1", "23"}});
    const KeySet keys(events.all());
    EXPECT_FALSE(keys.touches(events.add(Verb::create, {{"12", "3"}})));
    EXPECT_FALSE(keys.touches(events.add(Verb::create, {{"23", "1"}})));
    EXPECT_TRUE(keys.touches(events.add(Verb::create, {{"1", "23"}})));
}

TEST(KeySet, EventsWithoutARowTouchNothing) {
    const Table table = make_table("a.t", {"id"}, {0});
    Events events(table);
    events.add(Verb::truncate, {});
    const KeySet keys(events.all());
    EXPECT_FALSE(keys.touches(events.add(Verb::truncate, {})));
    EXPECT_FALSE(KeySet({}).touches(events.add(Verb::create, {{"1"}})));
}

}  // namespace
}  // namespace cqrs::apply::test
