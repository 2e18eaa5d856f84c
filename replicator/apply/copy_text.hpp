// Texts that the server takes apart again: COPY's text format, elements of an array.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "apply/event.hpp"

namespace cqrs::apply {

namespace detail {
constexpr std::array<char, 256> make_copy_escapes() {
    std::array<char, 256> t{};
    t['\b'] = 'b';
    t['\f'] = 'f';
    t['\n'] = 'n';
    t['\r'] = 'r';
    t['\t'] = 't';
    t['\v'] = 'v';
    t['\\'] = '\\';
    return t;
}
inline constexpr std::array<char, 256> copy_escapes = make_copy_escapes();
}  // namespace detail

inline void append_copy_text(std::string& out, std::string_view text) {
    const char* from = text.data();
    const char* const end = from + text.size();
    for (const char* at = from; at != end; ++at) {
        const char escape = detail::copy_escapes[static_cast<unsigned char>(*at)];
        if (!escape) [[likely]]
            continue;
        out.append(from, at);
        out += '\\';
        out += escape;
        from = at + 1;
    }
    out.append(from, end);
}

inline void append_copy_field(std::string& out, const Field& field) {
    if (field.is(Field::Kind::value))
        append_copy_text(out, field.text());
    else
        out += "\\N";
}

inline void append_array_element(std::string& out, std::string_view text) {
    out += '"';
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    out += '"';
}

}  // namespace cqrs::apply
