#include "apply/message.hpp"

#include <gtest/gtest.h>

#include "apply/copy_text.hpp"
#include "apply/heartbeat.hpp"
#include "apply_fixture.hpp"
#include "broker/names.hpp"

namespace cqrs::apply {
namespace {

using test::make_table;
using test::show;

broker::Headers good_headers() {
    return {{broker::header_source, std::string("/db/1/1")},
            {broker::header_topic, std::string("parking")},
            {broker::header_epoch, std::int64_t{5}},
            {broker::header_sequence, std::int64_t{7}},
            {broker::header_count, std::int64_t{2}},
            {broker::header_committed, std::int64_t{1}},
            {broker::header_lsn, std::string("0/20")},
            {broker::header_previous, std::string("0/10")},
            {broker::header_more, true}};
}

TEST(MessageHead, Reads) {
    const auto head = read_head(good_headers());
    EXPECT_EQ(head.source, "/db/1/1");
    EXPECT_EQ(head.epoch, 5);
    EXPECT_EQ(head.last(), 8);
    EXPECT_EQ(head.lsn, 0x20U);
    EXPECT_EQ(head.previous_lsn, 0x10U);
    EXPECT_TRUE(head.more);
}

TEST(MessageHead, RefusesWhatIsMissingOrOfAnotherType) {
    for (const auto& [name, _] : good_headers()) {
        auto headers = good_headers();
        headers.erase(name);
        EXPECT_THROW(read_head(headers), Refused) << name;
        headers[name] = std::vector<std::string>{"x"};
        EXPECT_THROW(read_head(headers), Refused) << name;
    }
    for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{-1}, INT64_MAX, INT64_MIN}) {
        auto headers = good_headers();
        headers[broker::header_sequence] = bad;
        EXPECT_THROW(read_head(headers), Refused) << bad;
        headers = good_headers();
        headers[broker::header_count] = bad;
        EXPECT_THROW(read_head(headers), Refused) << bad;
    }
    auto headers = good_headers();
    headers[broker::header_lsn] = std::string("nonsense");
    EXPECT_THROW(read_head(headers), Refused);
}

class Decode : public ::testing::Test {
  protected:
    Decode() {
        tables.push_back(make_table("parking", {"id", "name", "doc", "gen"}, {0}));
        tables[0].columns[2].json = true;
        tables[0].columns[3].generated = true;
        tables[0].prepare();
    }
    std::string event(const std::string& type, const std::string& rest,
                      const std::string& id = "0/20.1") {
        return R"({"specversion":"1.0","id":")" + id + R"(","source":"/db","type":")" + type +
               R"(","time":"2026-11-23T20:45:33.661507Z")" + rest + "}";
    }
    std::vector<Event>& decode(const std::string& body, std::int64_t count = 1,
                               std::int64_t from = 1) {
        message = std::make_unique<Message>();
        message->head.sequence = 1;
        message->head.count = count;
        message->body = body;
        Decoder decoder(tables);
        decoder.decode(*message, from);
        return message->events;
    }
    std::string row(const std::string& data, const std::string& before = "") {
        auto& events = decode("[" + event("parking.create", before + R"(,"data":)" + data) + "]");
        return show(tables[0], events.at(0).row);
    }
    void refused(const std::string& body, std::int64_t count = 1) {
        EXPECT_THROW(decode(body, count), Refused) << body;
    }

    std::vector<Table> tables;
    std::unique_ptr<Message> message;
};

TEST_F(Decode, TakesAttributesApart) {
    auto& e = decode("[" + event("parking.create", R"(,"data":{"id":1})", "1/A.12") + "]").at(0);
    EXPECT_EQ(e.id, "1/A.12");
    EXPECT_EQ(e.lsn, 0x10000000AU);
    EXPECT_EQ(e.prefix, "parking");
    EXPECT_EQ(e.verb, Verb::create);
    EXPECT_EQ(e.time, "2026-11-23T20:45:33.661507Z");
    EXPECT_EQ(e.sequence, 1);
    EXPECT_EQ(e.table, &tables[0]);
}

TEST_F(Decode, UnknownColumnsAreIgnoredIfTheSubscriptionSaysSo) {
    const std::string data = R"({"id":1,"new":{"a":[1]},"name":"x","newer":2})";
    try {
        row(data);
        FAIL() << "an unknown column was accepted";
    } catch (const SchemaDiffers& e) {
        EXPECT_EQ(e.prefix, "parking");
        EXPECT_EQ(e.column, "new");
        EXPECT_NE(std::string(e.what()).find("0/20.1"), std::string::npos) << e.what();
    }
    tables[0].ignore_unknown = true;
    EXPECT_EQ(row(data), "1 x - -");
}

TEST_F(Decode, ValuesAreAsPostgresPrintedThem) {
    EXPECT_EQ(row(R"({"id":1.10,"name":"a\"b\\c\u00e9\n","doc":null,"gen":"left out"})"),
              "1.10 a\"b\\c\u00e9\n NULL -");
    EXPECT_EQ(row(R"({"id":123456789012345678901234567890.10,"name":true})"),
              "123456789012345678901234567890.10 t - -");
    EXPECT_EQ(row(R"({"id":1,"name": false })"), "1 f - -");
    EXPECT_EQ(row(R"({"id":"x","name":"NaN"})"), "x NaN - -");
    EXPECT_EQ(row(R"({"id":"x","name":""})"), "x  - -");
    // A column that is not json takes JSON's text: array and object as they are.
    EXPECT_EQ(row(R"({"id":"x","name":{"a":[1, 2]}})"), R"(x {"a":[1, 2]} - -)");
}

TEST_F(Decode, JsonStaysRaw) {
    EXPECT_EQ(row(R"({"id":1,"doc": {"a": [1,{"b":"\u00e9"}], "c":null} })"),
              R"(1 -  {"a": [1,{"b":"\u00e9"}], "c":null}  -)");
    EXPECT_EQ(row(R"({"id":1,"doc":"abc"})"), R"(1 - "abc" -)");
    EXPECT_EQ(row(R"({"id":1,"doc":[] })"), R"(1 - []  -)");
    EXPECT_EQ(row(R"({"id":1,"doc":12e3})"), R"(1 - 12e3 -)");
    EXPECT_EQ(row("{\"id\" : 1 ,\"doc\":\n \"x\" ,\"name\": true }"), "1 t \n \"x\"  -");
    EXPECT_EQ(row("{\"id\":1,\"doc\": true\n}"), "1 -  true\n -");
}

TEST_F(Decode, JsonNullIsNotSqlNull) {
    EXPECT_EQ(row(R"({"id":1,"doc":null})"), "1 - NULL -");
    EXPECT_EQ(row(R"({"id":1,"doc":null})", R"(,"jsonnulls":"[\"doc\"]")"), "1 - null -");
    EXPECT_EQ(row("{\"id\":1,\"doc\": null\n}", R"(,"jsonnulls":"[\"doc\"]")"), "1 -  null\n -");
    // Of no meaning for another column, or one that is not there.
    EXPECT_EQ(row(R"({"id":1,"name":null})", R"(,"jsonnulls":"[\"name\",\"x\"]")"), "1 NULL - -");
}

TEST_F(Decode, ColumnNamesOfAnyKind) {
    tables.clear();
    tables.push_back(make_table("parking", {"id", "a\"b", "\u00e9", "Mixed Case"}, {0}));
    const std::string data = R"({"id":1,"a\"b":2,"\u00e9":3,"Mixed Case":4})";
    auto& events = decode("[" + event("parking.create", ",\"data\":" + data) + "," +
                              event("parking.create", ",\"data\":" + data) + "]",
                          2);
    EXPECT_EQ(show(tables[0], events[0].row), "1 2 3 4");
    EXPECT_EQ(show(tables[0], events[1].row), "1 2 3 4");
}

TEST_F(Decode, ColumnOrderMayChange) {
    auto& events = decode("[" + event("parking.create", R"(,"data":{"id":1,"name":"a"})") + "," +
                              event("parking.create", R"(,"data":{"name":"b","id":2})") + "," +
                              event("parking.create", R"(,"data":{"id":3})") + "]",
                          3);
    EXPECT_EQ(show(tables[0], events[1].row), "2 b - -");
    EXPECT_EQ(show(tables[0], events[2].row), "3 - - -");
}

TEST_F(Decode, OldKey) {
    auto& e = decode("[" +
                     event("parking.update",
                           R"(,"oldkey":"{\"id\":\"a\\\"b\"}","data":{"id":2,"name":"x"})") +
                     "]")
                  .at(0);
    ASSERT_NE(e.old, nullptr);
    EXPECT_EQ(show(tables[0], e.old), "a\"b - - -");
}

// The columns of a key are NOT NULL, so nothing has to say whose null it is.
TEST_F(Decode, OldKeyOfJsonNull) {
    tables.clear();
    tables.push_back(make_table("parking", {"id", "doc"}, {0, 1}));
    tables[0].columns[1].json = true;
    auto& e =
        decode("[" +
               event("parking.update", R"(,"oldkey":"{\"id\":1,\"doc\":null}",)"
                                       R"("jsonnulls":"[\"doc\"]","data":{"id":2,"doc":null})") +
               "]")
            .at(0);
    EXPECT_EQ(show(tables[0], e.old), "1 null");
    EXPECT_EQ(show(tables[0], e.row), "2 null");
}

TEST_F(Decode, SkipsWhatWasApplied) {
    auto& events = decode("[" + event("parking.create", R"(,"data":{"id":1})") + "," +
                              event("parking.create", R"(,"data":{"id":2})") + "]",
                          2, 2);
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].sequence, 2);
}

TEST_F(Decode, OthersAreCountedOnly) {
    auto& events = decode("[" + event("parking.reserved", R"(,"data":{"any":[1,{}]})") + "," +
                              event("parking.other.create", R"(,"data":{"id":2})") + "," +
                              event("parking.truncate", "") + "]",
                          3);
    EXPECT_EQ(events[0].table, nullptr);
    EXPECT_EQ(events[1].table, nullptr);
    EXPECT_EQ(events[2].table, &tables[0]);
}

TEST_F(Decode, WhatIsInTheCopyIsNotLookedAt) {
    tables[0].snapshot_lsn = 0x20;
    EXPECT_EQ(decode("[" + event("parking.create", R"(,"data":{"unknown":1})") + "]").at(0).table,
              nullptr);
}

TEST_F(Decode, MissingColumnStops) {
    try {
        decode("[" + event("parking.create", R"(,"data":{"id":1,"colour":"red"})") + "]");
        FAIL();
    } catch (const Halt& e) {
        EXPECT_NE(std::string(e.what()).find("colour"), std::string::npos);
        EXPECT_NE(std::string(e.what()).find("0/20.1"), std::string::npos);
    }
}

TEST_F(Decode, MissingKeyStops) {
    EXPECT_THROW(decode("[" + event("parking.delete", R"(,"data":{"name":"x"})") + "]"), Halt);
}

TEST_F(Decode, NotifyHoldsTheEventAsItCame) {
    tables[0].notify = true;
    const std::string one = event("parking.create", R"(,"data":{"id":1,"doc":{"a": [1]}})");
    const std::string two = event("parking.reserved", R"(,"data":{"x":1})");
    auto& events = decode("[" + one + " , " + two + "]", 2);
    EXPECT_EQ(events[0].notify, one);
    EXPECT_EQ(events[1].notify, two);
    EXPECT_EQ(show(tables[0], events[0].row), R"(1 - {"a": [1]} -)");
}

TEST_F(Decode, RefusesOtherShapes) {
    const std::string good = event("parking.create", R"(,"data":{"id":1})");
    refused("");
    refused("nonsense");
    refused("[");
    refused("[" + good);
    refused("[" + good + "]]");
    refused("[" + good + "] x");
    refused("[" + good + ",]", 2);
    refused(good);
    refused("[1]");
    refused("[[]]");
    refused("[{}]");
    refused("[null]");
    refused("\"[]\"");
    refused("[" + good + "]", 2);
    refused("[" + good + "," + good + "]", 1);
    refused("[" + event("parking.create", R"(,"data":1)") + "]");
    refused("[" + event("parking.create", R"(,"data":[1])") + "]");
    refused("[" + event("parking.create", "") + "]");
    refused("[" + event("parking.create", R"(,"data":{"id":tru})") + "]");
    refused("[" + event("parking.create", R"(,"data":{"id":nonsense})") + "]");
    refused("[" + event("parking.create", R"(,"data":{"id":1 "name":2})") + "]");
    refused("[" + event("parking.create", R"(,"data":{"id":"\ud800"})") + "]");
    refused("[" + event("parking.create", R"(,"data":{"id":"\q"})") + "]");
    refused("[" + event("parking.create", R"(,"data":{"id":1})", "nonsense") + "]");
    refused("[" + event("parking.create", R"(,"data":{"id":1})", "0/1") + "]");
    refused("[" + event("parking.create", R"(,"oldkey":"nonsense","data":{"id":1})") + "]");
    refused("[" + event("parking.create", R"(,"jsonnulls":"{}","data":{"id":1})") + "]");
    refused(R"([{"id":1,"type":"parking.create"}])");
    refused(R"([{"data":{"id":1},"id":"0/1.1","type":"parking.create"}])");
    refused("[" + event("parking.create", ",\"data\":{\"id\":\"\xff\xfe\"}") + "]");
    refused("[" + event("parking.create", std::string(",\"data\":{\"id\":\"a\nb\"}")) + "]");
}

TEST_F(Decode, LsnsDoNotGoBackwards) {
    refused("[" + event("parking.create", R"(,"data":{"id":1})", "0/20.1") + "," +
                event("parking.create", R"(,"data":{"id":1})", "0/10.1") + "]",
            2);
}

TEST_F(Decode, SurvivesDeepNesting) {
    const std::string deep = std::string(200000, '[') + std::string(200000, ']');
    try {
        row(R"({"id":1,"doc":)" + deep + "}");
    } catch (const Refused&) {
        // as good as taking it: Postgres has a limit of its own
    }
    refused(std::string(1000000, '['));
    try {
        decode("[" + event("parking.reserved", ",\"data\":" + deep) + "]");
    } catch (const Refused&) {
    }
}

TEST_F(Decode, SurvivesEveryCut) {
    const std::string whole =
        "[" +
        event("parking.update", R"(,"oldkey":"{\"id\":1}","jsonnulls":"[\"doc\"]",)"
                                R"("data":{"id":2,"name":"a\u00e9","doc":{"a":[1,"x"]}})") +
        "]";
    for (std::size_t n = 0; n < whole.size(); ++n) refused(whole.substr(0, n));
    for (std::size_t n = 0; n < whole.size(); ++n)
        for (const char c : {'"', '\\', '{', '}', '[', ']', ',', ':', '0', '\0', '\xff'}) {
            std::string damaged = whole;
            damaged[n] = c;
            try {
                decode(damaged);
            } catch (const Refused&) {
            } catch (const Halt&) {
            }
        }
}

TEST(CopyText, Escapes) {
    std::string out;
    append_copy_text(out, "a\tb\nc\\d\re\bf\fg\vh\x01");
    EXPECT_EQ(out, "a\\tb\\nc\\\\d\\re\\bf\\fg\\vh\x01");
    out.clear();
    append_copy_field(out, Field::of("\\N"));
    append_copy_field(out, Field::null());
    EXPECT_EQ(out, "\\\\N\\N");
}

TEST(Heartbeat, Reads) {
    const auto h = parse_heartbeat(
        R"({"source":"/db","epoch":5,"lsn":"0/20","time":"2026-11-25T00:00:00.000001Z","topics":{"parking":{"sequence":3,"lsn":"0/10"}}})");
    ASSERT_TRUE(h);
    EXPECT_EQ(h->epoch, 5);
    EXPECT_EQ(h->topic("parking").sequence, 3);
    EXPECT_EQ(h->topic("parking").lsn, 0x10U);
    EXPECT_EQ(h->topic("other").sequence, 0);
    for (
        const char* bad :
        {"", "{}", "[]", R"({"source":1})", R"({"source":"/db","epoch":5,"lsn":"x","topics":{}})",
         R"({"source":"/db","epoch":5,"lsn":"0/1","time":"2026-11-25T00:00:00.000001Z","topics":{"a":1}})",
         R"({"source":"/db","epoch":5,"lsn":"0/20","topics":{}})",
         R"({"source":"/db","epoch":5,"lsn":"0/20","time":"now","topics":{}})",
         R"({"source":"/db","epoch":5,"lsn":"0/20","time":"2026-11-25T00:00:00.000001Z","topics":{"a\"}":{"sequence":3,"lsn":"0/10"}}})"})
        EXPECT_FALSE(parse_heartbeat(bad)) << bad;
}

}  // namespace
}  // namespace cqrs::apply
