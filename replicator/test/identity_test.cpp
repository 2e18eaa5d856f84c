#include "copy/identity.hpp"

#include <gtest/gtest.h>

namespace cqrs {
namespace {

TEST(Identity, TheKeyInUseIsThePrimarysWhereEventsDoNotNameTheOldRow) {
    const copy::Identity by_primary_key{"a, b", true};
    EXPECT_TRUE(copy::finds({"a, b", "c"}, by_primary_key));
    EXPECT_FALSE(copy::finds({"c", "a, b"}, by_primary_key));
    EXPECT_FALSE(copy::finds({}, by_primary_key));
}

TEST(Identity, AnyKeyOfTheseColumnsWhereEveryEventNamesTheOldRow) {
    const copy::Identity by_index{"code", false};
    EXPECT_TRUE(copy::finds({"id", "code"}, by_index));
    EXPECT_FALSE(copy::finds({"id"}, by_index));
}

TEST(Identity, TheWholeRowIsFoundByAnyKey) {
    EXPECT_TRUE(copy::finds({"id"}, {}));
}

TEST(Identity, WhatToDoIsSaid) {
    try {
        copy::require_identity({"id", true}, {"code"}, "p", "public.t");
        FAIL();
    } catch (const postgres::Error& e) {
        EXPECT_EQ(e.sqlstate(), "55000");
        EXPECT_EQ(e.remedy(), postgres::Remedy::stop);
        EXPECT_NE(e.hint().find("ALTER TABLE public.t REPLICA IDENTITY USING INDEX"),
                  std::string::npos);
    }
}

}  // namespace
}  // namespace cqrs
