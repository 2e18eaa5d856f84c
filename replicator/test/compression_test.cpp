#include "broker/compression.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace cqrs::broker {
namespace {

constexpr std::size_t limit = 1 << 20;

std::string sample() {
    std::string text = "[";
    for (int i = 0; i < 2000; ++i) text += "{\"n\":" + std::to_string(i * 7919) + "},";
    text.back() = ']';
    return text;
}

TEST(Compression, ComesBackAsItWas) {
    const std::string text = sample(), frame = compress_lz4(text);
    EXPECT_LT(frame.size(), text.size());
    EXPECT_EQ(decompress_lz4(frame, limit), text);
}

TEST(Compression, RefusesEveryCutAndWhatFollows) {
    const std::string frame = compress_lz4(sample());
    for (std::size_t n = 0; n < frame.size(); n += n < 64 ? 1 : 97)
        EXPECT_THROW(decompress_lz4(frame.substr(0, n), limit), std::invalid_argument) << n;
    EXPECT_THROW(decompress_lz4(frame + "x", limit), std::invalid_argument);
}

TEST(Compression, RefusesWhatIsTooLargeBeforeItIsUnpacked) {
    EXPECT_THROW(decompress_lz4(compress_lz4(std::string(limit + 1, 'x')), limit),
                 std::invalid_argument);
}

TEST(Compression, DamageIsNeverMoreThanAnError) {
    const std::string frame = compress_lz4(sample());
    for (std::size_t at = 0; at < frame.size(); at += 3) {
        std::string damaged = frame;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
        try {
            decompress_lz4(damaged, limit);
        } catch (const std::invalid_argument&) {
        }
    }
}

TEST(Compression, BodyByItsEncoding) {
    EXPECT_EQ(decoded_body("", "[1]"), "[1]");
    EXPECT_EQ(decoded_body("lz4", compress_lz4("[1,2]")), "[1,2]");
    EXPECT_THROW(decoded_body("gzip", "x"), std::invalid_argument);
}

}  // namespace
}  // namespace cqrs::broker
