#include "apply/copy_binary.hpp"

#include <gtest/gtest.h>

#include <optional>

namespace cqrs::apply {
namespace {

// The field without its length; nullopt: left to the server.
std::optional<std::string> made(BinaryForm form, std::string_view text) {
    std::string out;
    if (!append_binary(out, form, text)) return std::nullopt;
    std::uint32_t length = 0;
    for (int i = 0; i < 4; ++i)
        length = length << 8 | static_cast<unsigned char>(out[static_cast<std::size_t>(i)]);
    EXPECT_EQ(length, out.size() - 4);
    return out.substr(4);
}

std::optional<std::int64_t> as_int(BinaryForm form, std::string_view text) {
    const auto bytes = made(form, text);
    if (!bytes) return std::nullopt;
    std::uint64_t value = (*bytes)[0] < 0 ? ~std::uint64_t{0} : 0;
    for (const char c : *bytes) value = value << 8 | static_cast<unsigned char>(c);
    return static_cast<std::int64_t>(value);
}

constexpr std::nullopt_t to_the_server = std::nullopt;

TEST(CopyBinary, Integers) {
    EXPECT_EQ(as_int(BinaryForm::int2, "-32768"), -32768);
    EXPECT_EQ(as_int(BinaryForm::int4, "2147483647"), 2147483647);
    EXPECT_EQ(as_int(BinaryForm::int8, "-9223372036854775808"), INT64_MIN);
    for (const char* text : {"", "1 ", " 1", "+1", "1.0", "32768", "x"})
        EXPECT_EQ(as_int(BinaryForm::int2, text), to_the_server) << text;
}

TEST(CopyBinary, Booleans) {
    EXPECT_EQ(made(BinaryForm::boolean, "t"), std::string(1, '\1'));
    EXPECT_EQ(made(BinaryForm::boolean, "f"), std::string(1, '\0'));
    EXPECT_EQ(made(BinaryForm::boolean, "true"), to_the_server);
}

TEST(CopyBinary, Floats) {
    EXPECT_EQ(as_int(BinaryForm::float8, "1.5"), 0x3FF8000000000000);
    EXPECT_EQ(as_int(BinaryForm::float8, "1e+20"), 0x4415AF1D78B58C40);
    EXPECT_EQ(as_int(BinaryForm::float4, "-2"), static_cast<std::int32_t>(0xC0000000));
    for (const char* text : {"NaN", "Infinity", "inf", "0x1", "1e400", "1,5", ""})
        EXPECT_EQ(as_int(BinaryForm::float8, text), to_the_server) << text;
}

TEST(CopyBinary, Uuids) {
    EXPECT_EQ(made(BinaryForm::uuid, "00112233-4455-6677-8899-aAbBcCdDeEfF"),
              std::string("\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16));
    for (const char* text :
         {"00112233-4455-6677-8899-aabbccddeef", "00112233445566778899aabbccddeeff",
          "00112233-4455-6677-8899-aabbccddeefg", "00112233-4455-6677-8899-aabbccddee--",
          "{0112233-4455-6677-8899-aabbccddeef}"})
        EXPECT_EQ(made(BinaryForm::uuid, text), to_the_server) << text;
}

TEST(CopyBinary, Texts) {
    EXPECT_EQ(made(BinaryForm::text, "a\tb\\"), "a\tb\\");
    EXPECT_EQ(made(BinaryForm::text, ""), "");
    EXPECT_EQ(made(BinaryForm::jsonb, "{}"), "\1{}");
    EXPECT_EQ(made(BinaryForm::none, "x"), to_the_server);
}

// Compared with what Postgres 15 gives for '...'::date - '2000-01-01' and for the epoch of it.
TEST(CopyBinary, Dates) {
    EXPECT_EQ(as_int(BinaryForm::date, "2000-01-01"), 0);
    EXPECT_EQ(as_int(BinaryForm::date, "1999-12-31"), -1);
    EXPECT_EQ(as_int(BinaryForm::date, "2000-03-01"), 60);
    EXPECT_EQ(as_int(BinaryForm::date, "2026-11-25"), 9825);
    EXPECT_EQ(as_int(BinaryForm::date, "0001-01-01"), -730119);
    EXPECT_EQ(as_int(BinaryForm::date, "10000-01-01"), 2921940);
    EXPECT_EQ(as_int(BinaryForm::date, "infinity"), INT32_MAX);
    EXPECT_EQ(as_int(BinaryForm::date, "-infinity"), INT32_MIN);
    for (const char* text : {"2026-02-29", "2026-13-01", "2026-00-01", "2026-1-01", "0044-03-15 BC",
                             "2026-11-25 ", "26-11-25", "11/25/2026", "0000-01-01", ""})
        EXPECT_EQ(as_int(BinaryForm::date, text), to_the_server) << text;
}

TEST(CopyBinary, Timestamps) {
    EXPECT_EQ(as_int(BinaryForm::timestamp, "2000-01-01 00:00:00"), 0);
    EXPECT_EQ(as_int(BinaryForm::timestamp, "1999-12-31 23:59:59.999999"), -1);
    EXPECT_EQ(as_int(BinaryForm::timestamptz, "2000-01-02 03:04:05.5+00"), 97445500000);
    EXPECT_EQ(as_int(BinaryForm::timestamptz, "infinity"), INT64_MAX);
    EXPECT_EQ(as_int(BinaryForm::timestamp, "-infinity"), INT64_MIN);
    for (const char* text :
         {"2000-01-01 00:00:00", "2000-01-01 00:00:00+01", "2000-01-01 00:00:00+00:30",
          "2000-01-01 24:00:00+00", "2000-01-01 00:00:60+00", "2000-01-01T00:00:00+00",
          "2000-01-01 00:00:00.1234567+00", "2000-01-01 00:00:00.+00", "2000-01-01"})
        EXPECT_EQ(as_int(BinaryForm::timestamptz, text), to_the_server) << text;
    EXPECT_EQ(as_int(BinaryForm::timestamp, "2000-01-01 00:00:00+00"), to_the_server);
}

}  // namespace
}  // namespace cqrs::apply
