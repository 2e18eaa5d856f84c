#include "postgres/text.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <stdexcept>

namespace cqrs::postgres {

std::string quote_identifier(std::string_view name) {
    std::string out = "\"";
    for (char c : name) {
        if (c == '"') out += '"';
        out += c;
    }
    return out + '"';
}

std::string quote_literal(std::string_view value) {
    std::string out;
    if (value.find('\\') != std::string_view::npos) out = " E";
    out += '\'';
    for (char c : value) {
        if (c == '\'' || c == '\\') out += c;
        out += c;
    }
    return out + '\'';
}

std::string format_lsn(std::uint64_t lsn) {
    std::array<char, 24> buffer{};
    const int size = std::snprintf(buffer.data(), buffer.size(), "%X/%X",
                                   static_cast<unsigned>(lsn >> 32), static_cast<unsigned>(lsn));
    return {buffer.data(), static_cast<std::size_t>(size)};
}

std::uint64_t parse_lsn(std::string_view text) {
    const auto bad = [&] {
        return std::invalid_argument("not an LSN: \"" + std::string(text.substr(0, 40)) + "\"");
    };
    const auto half = [&](std::string_view digits) {
        std::uint32_t number = 0;
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
        if (digits.empty() || digits.size() > 8 || error != std::errc{} ||
            end != digits.data() + digits.size())
            throw bad();
        return static_cast<std::uint64_t>(number);
    };
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) throw bad();
    return half(text.substr(0, slash)) << 32 | half(text.substr(slash + 1));
}

}  // namespace cqrs::postgres
