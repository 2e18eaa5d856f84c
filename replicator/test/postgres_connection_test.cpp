#include "postgres/connection.hpp"

#include <gtest/gtest.h>

namespace cqrs::postgres {
namespace {

TEST(PostgresLsn, FormatsAndParses) {
    EXPECT_EQ(format_lsn(0x16B3748), "0/16B3748");
    EXPECT_EQ(format_lsn(0x1A00000002ULL), "1A/2");
    EXPECT_EQ(parse_lsn("0/16B3748"), 0x16B3748U);
    EXPECT_EQ(parse_lsn("1A/2"), 0x1A00000002ULL);
    EXPECT_EQ(parse_lsn("FFFFFFFF/ffffffff"), ~std::uint64_t{0});
    for (const char* bad :
         {"", "/", "1/", "/1", "1", "1/2/3", "g/1", "123456789/1", "-1/1", "1/+2"})
        EXPECT_THROW(parse_lsn(bad), std::invalid_argument) << bad;
}

TEST(PostgresQuote, SurvivesQuotesAndBackslashes) {
    EXPECT_EQ(quote_identifier("a\"b"), "\"a\"\"b\"");
    EXPECT_EQ(quote_literal("it's"), "'it''s'");
    EXPECT_EQ(quote_literal("a\\'b"), " E'a\\\\''b'");
}

TEST(PostgresClassify, SaysWhatHelps) {
    for (const char* retry :
         {"", "08006", "40001", "40P01", "53300", "55P03", "55006", "57P01", "57014", "58030"})
        EXPECT_EQ(classify(retry), Remedy::retry) << retry;
    for (const char* stop : {"23505", "22P02", "42P01", "42501", "25006", "XX000"})
        EXPECT_EQ(classify(stop), Remedy::stop) << stop;
}

TEST(PostgresConnection, NeverRepeatsTheConnectionString) {
    try {
        Connection::open("postgresql://u:se%cret@h:1/db", "test");
        FAIL();
    } catch (const Error& e) {
        EXPECT_EQ(std::string(e.what()).find("cret"), std::string::npos) << e.what();
    }
}

TEST(PostgresConnection, RefusedIsRetry) {
    try {
        Connection::open("host=/nonexistent user=u password=secret", "test");
        FAIL();
    } catch (const Error& e) {
        EXPECT_EQ(e.remedy(), Remedy::retry);
        EXPECT_EQ(std::string(e.what()).find("secret"), std::string::npos);
    }
}

}  // namespace
}  // namespace cqrs::postgres
