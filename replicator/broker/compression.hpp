// Bodies as LZ4 frames (content-encoding lz4), which every language has a library for. Only if the
// relay is told to; readers here take either.
#pragma once

#include <string>
#include <string_view>

namespace cqrs::broker {

inline constexpr const char* lz4_encoding = "lz4";

// Appends nothing but a whole LZ4 frame, which says the content's size. Throws std::runtime_error.
std::string compress_lz4(std::string_view content);
// Throws std::invalid_argument on anything but one whole frame of at most `limit` bytes of content.
std::string decompress_lz4(std::string_view frame, std::size_t limit);

// A body as its content_encoding says; throws std::invalid_argument.
std::string decoded_body(const std::string& content_encoding, std::string&& body);

}  // namespace cqrs::broker
