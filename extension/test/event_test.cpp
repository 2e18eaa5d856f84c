#include "event.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace cqrs {
namespace {

std::string json(std::string_view s) {
    std::string out;
    EXPECT_TRUE(append_json_string(out, s)) << s;
    return out;
}

bool refused(std::string_view s) {
    std::string out;
    return !append_json_string(out, s) && !valid_utf8(s);
}

template <class F, class... A>
std::string text(F f, A... a) {
    std::string out;
    f(out, a...);
    return out;
}

TEST(Event, EscapesWhatJsonDemandsAndNothingElse) {
    EXPECT_EQ(json(""), R"("")");
    EXPECT_EQ(json("plain text, longer than eight bytes"),
              R"("plain text, longer than eight bytes")");
    EXPECT_EQ(json("a\"b\\c/d"), R"("a\"b\\c/d")");
    EXPECT_EQ(json("\b\f\n\r\t"), R"("\b\f\n\r\t")");
    EXPECT_EQ(json(std::string_view("\0\x01\x1f\x7f", 4)), "\"\\u0000\\u0001\\u001f\x7f\"");
    EXPECT_EQ(json("Größe 日本 🚗"), "\"Größe 日本 🚗\"");
}

TEST(Event, EscapesAtEveryOffset) {
    for (int at = 0; at < 40; at++) {
        std::string s(40, 'x'), expected;
        s[at] = '"';
        expected = "\"" + std::string(at, 'x') + "\\\"" + std::string(39 - at, 'x') + "\"";
        EXPECT_EQ(json(s), expected);
        s[at] = '\x80';
        EXPECT_TRUE(refused(s));
    }
}

TEST(Event, EveryByteAlone) {
    for (int c = 0; c < 256; c++) {
        const std::string s(9, static_cast<char>(c));
        std::string out;
        EXPECT_EQ(append_json_string(out, s), c < 0x80) << c;
        EXPECT_EQ(valid_utf8(s), c < 0x80) << c;
    }
}

TEST(Event, RefusesWhatIsNotUtf8) {
    EXPECT_TRUE(refused("\xC0\x80"));          // overlong
    EXPECT_TRUE(refused("\xE0\x80\x80"));      // overlong
    EXPECT_TRUE(refused("\xF0\x80\x80\x80"));  // overlong
    EXPECT_TRUE(refused("\xED\xA0\x80"));      // surrogate
    EXPECT_TRUE(refused("\xF4\x90\x80\x80"));  // past U+10FFFF
    EXPECT_TRUE(refused("\xE2\x82"));          // cut off
    EXPECT_TRUE(refused("abc\xFF"));
    EXPECT_FALSE(refused("\xF4\x8F\xBF\xBF"));
    EXPECT_FALSE(refused("\xED\x9F\xBF\xEE\x80\x80"));
}

TEST(Event, DepthSkipsStrings) {
    EXPECT_EQ(json_depth(R"({"a":[1,"]]]{{{",{}]})", 512), 3);
    EXPECT_EQ(json_depth(R"("\"[[[")", 512), 0);
    EXPECT_EQ(json_depth("\"\\", 512), 0);
    EXPECT_EQ(json_depth(std::string(100000, '['), 512), 513);
    EXPECT_EQ(json_depth(std::string(512, '['), 512), 512);
}

TEST(Event, Numbers) {
    EXPECT_EQ(text(append_integer, std::numeric_limits<std::int64_t>::min()),
              "-9223372036854775808");
    EXPECT_EQ(text(append_lsn, 0), "0/0");
    EXPECT_EQ(text(append_lsn, 0x16B3748), "0/16B3748");
    EXPECT_EQ(text(append_lsn, 0xFFFFFFFFFFFFFFFF), "FFFFFFFF/FFFFFFFF");
}

TEST(Event, Times) {
    EXPECT_EQ(text(append_time, 0), "1970-01-01T00:00:00.000000Z");
    EXPECT_EQ(text(append_time, -1), "1969-12-31T23:59:59.999999Z");
    EXPECT_EQ(text(append_time, 951782400000000), "2000-02-29T00:00:00.000000Z");
    EXPECT_EQ(text(append_time, 1795466733661507), "2026-11-23T20:45:33.661507Z");
    EXPECT_EQ(text(append_time, std::numeric_limits<std::int64_t>::max()),
              "9999-12-31T23:59:59.999999Z");
    EXPECT_EQ(text(append_time, std::numeric_limits<std::int64_t>::min()),
              "0000-01-01T00:00:00.000000Z");
}

TEST(Event, PercentEncoding) {
    EXPECT_EQ(text(append_percent_encoded, "a-Z_0.~"), "a-Z_0.~");
    EXPECT_EQ(text(append_percent_encoded, "my db/ü"), "my%20db%2F%C3%BC");
}

TEST(Event, PrefixesAndTypes) {
    for (auto good : {"parking", "parking.reservation", "a", "A-1_x.9.-"}) {
        EXPECT_TRUE(valid_prefix(good)) << good;
        EXPECT_TRUE(valid_type(std::string(good) + ".done")) << good;
    }
    for (auto bad :
         {"", ".", "1a", "a.", ".a", "a..b", "a b", "ä", "cqrs", "cqrs.x", "heartbeat"}) {
        EXPECT_FALSE(valid_prefix(bad)) << bad;
        EXPECT_FALSE(valid_type(std::string(bad) + ".done")) << bad;
    }
    EXPECT_FALSE(valid_type("parking"));
    EXPECT_FALSE(valid_type("parking."));
    EXPECT_TRUE(valid_prefix(std::string(50, 'a')));
    EXPECT_FALSE(valid_prefix(std::string(51, 'a')));
    EXPECT_TRUE(valid_type("a." + std::string(61, 'b')));
    EXPECT_FALSE(valid_type("a." + std::string(62, 'b')));
    EXPECT_EQ(topic_of("parking.reservation"), "parking");
    EXPECT_EQ(topic_of("parking"), "parking");
    EXPECT_EQ(split_type("a.b.create").prefix, "a.b");
    EXPECT_EQ(split_type("a.b.create").verb, "create");
    EXPECT_TRUE(table_verb("stop"));
    EXPECT_FALSE(table_verb("stopped"));
}

TEST(Event, Context) {
    EXPECT_TRUE(valid_context("order-17 ü"));
    EXPECT_TRUE(valid_context(std::string(255, 'a')));
    EXPECT_FALSE(valid_context(std::string(256, 'a')));
    EXPECT_FALSE(valid_context("a\nb"));
    EXPECT_FALSE(valid_context("\xFF"));
    EXPECT_TRUE(valid_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    EXPECT_FALSE(valid_traceparent("00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    EXPECT_FALSE(valid_traceparent("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    EXPECT_FALSE(valid_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
    EXPECT_FALSE(valid_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
    EXPECT_FALSE(valid_traceparent(""));
}

TEST(Event, Envelope) {
    Envelope envelope("/db \"x\"");
    envelope.begin_transaction(0x16B3748, 0);
    std::string out;
    envelope.open(out, "parking.create");
    EXPECT_EQ(
        out,
        R"({"specversion":"1.0","id":"0/16B3748.1","source":"/db \"x\"","type":"parking.create",)"
        R"("time":"1970-01-01T00:00:00.000000Z")");
    envelope.undo();
    envelope.set_context("c\"1", "", "t");
    out.clear();
    envelope.open(out, "a.b");
    EXPECT_EQ(out,
              R"({"specversion":"1.0","id":"0/16B3748.1","source":"/db \"x\"","type":"a.b",)"
              R"("time":"1970-01-01T00:00:00.000000Z","correlationid":"c\"1","traceparent":"t")");
    out.clear();
    envelope.open(out, "a.b");
    EXPECT_NE(out.find("0/16B3748.2"), std::string::npos);
    envelope.begin_transaction(1, 1);
    out.clear();
    envelope.open(out, "a.b");
    EXPECT_NE(out.find("\"0/1.1\""), std::string::npos);
    EXPECT_EQ(out.find("correlationid"), std::string::npos);
}

}  // namespace
}  // namespace cqrs
