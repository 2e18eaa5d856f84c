#include "admin/json.hpp"

#include <fmt/format.h>

#include <cmath>

namespace cqrs {

JsonWriter& JsonWriter::value(double number) {
    if (!std::isfinite(number)) return raw("null");
    return raw(fmt::format("{}", number));
}

void JsonWriter::quote(std::string_view text) {
    out_ += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out_ += '\\';
            out_ += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out_ += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            out_ += c;
        }
    }
    out_ += '"';
}

}  // namespace cqrs
