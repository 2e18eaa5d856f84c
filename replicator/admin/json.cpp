#include "admin/json.hpp"

#include <fmt/format.h>

#include <cmath>

#include "event.hpp"

namespace cqrs {

JsonWriter& JsonWriter::value(double number) {
    if (!std::isfinite(number)) return raw("null");
    return raw(fmt::format("{}", number));
}

void JsonWriter::quote(std::string_view text) {
    const auto start = out_.size();
    if (append_json_string(out_, text)) return;
    // Not UTF-8 (an error text of a server in another encoding): shown, but not as it is.
    out_.resize(start);
    std::string ascii(text);
    for (char& c : ascii) {
        if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    }
    if (!append_json_string(out_, ascii)) out_.append("\"\"");
}

}  // namespace cqrs
