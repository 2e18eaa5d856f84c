#include <gtest/gtest.h>

#include "copy/columns.hpp"
#include "copy/definition.hpp"
#include "copy/progress.hpp"
#include "relay/replicas.hpp"

namespace cqrs {
namespace {

TEST(Copy, ColumnsAreThoseOfThePrimary) {
    using copy::Column;
    const std::vector<Column> primary = {
        {"a", false, "bigint", true}, {"b\"", false, "text", true}, {"g", true, "numeric", true}};
    std::vector<Column> replica = {
        {"b\"", false, "text", true}, {"own", false, "x", false}, {"a", false, "bigint", true}};
    auto list = copy::column_list(primary, replica, "p", "t");
    EXPECT_EQ(list.names, "\"a\", \"b\"\"\"");
    EXPECT_TRUE(list.binary);
    EXPECT_EQ(copy::copy_in_sql(list, "t"), "COPY t (\"a\", \"b\"\"\") FROM STDIN (FORMAT binary)");
    replica[2].type = "integer";
    list = copy::column_list(primary, replica, "p", "t");
    EXPECT_FALSE(list.binary);
    EXPECT_EQ(copy::copy_out_sql(list, "s", false, "ctid < '(1,0)'"),
              "COPY (SELECT \"a\", \"b\"\"\" FROM ONLY s WHERE ctid < '(1,0)') TO STDOUT");
    replica[2].type = "jsonb";  // streamed, "5" would be another value than copied
    EXPECT_THROW(copy::column_list(primary, replica, "p", "t"), postgres::Error);
    replica.pop_back();
    EXPECT_THROW(copy::column_list(primary, replica, "p", "t"), postgres::Error);
}

TEST(Copy, OnlyTheFirstPlaceIsTheTable) {
    EXPECT_EQ(copy::on_table("CREATE TABLE {} (a text DEFAULT '{}')", "s.t"),
              "CREATE TABLE s.t (a text DEFAULT '{}')");
}

TEST(Copy, FiguresOfATable) {
    copy::Figures f;
    f.prefix = "orders";
    f.rows = 1200000;
    f.rows_expected = 10000000;
    f.bytes = 3 << 20;
    f.seconds = 5;
    EXPECT_EQ(f.line(),
              "orders: 1,200,000 rows of about 10,000,000 (12 %), 3.0 MB, 240,000 rows/s, 36 s "
              "left");
    EXPECT_EQ(f.bar(8).substr(0, 40), "orders   [##......................] 12 %");
    f.rows = 11000000;  // statistics are old
    EXPECT_NE(f.line().find("(99 %)"), std::string::npos);
    f.rows_expected = 0;
    EXPECT_EQ(f.seconds_left(), std::nullopt);
    f.state = copy::TableProgress::State::done;
    EXPECT_EQ(f.seconds_left(), 0);
}

TEST(Copy, ReportsOfReplicas) {
    EXPECT_EQ(relay::parse_report(R"({"replica":"r1","topics":{}})")->replica, "r1");
    EXPECT_TRUE(relay::parse_report(R"({"replica":"r1","removed":true})")->removed);
    for (const char* bad : {"", "[]", "{}", R"({"replica":1,"topics":{}})", R"({"replica":"r1"})",
                            R"({"replica":"","topics":{}})", "\xff"})
        EXPECT_FALSE(relay::parse_report(bad)) << bad;
}

}  // namespace
}  // namespace cqrs
