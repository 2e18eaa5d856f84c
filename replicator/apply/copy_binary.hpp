// Values as COPY ... (FORMAT binary) takes them, of the types where that is short to make from the
// text that Postgres prints: it saves the server reading the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cqrs::apply {

enum class BinaryForm : std::uint8_t {
    none,  // only as text
    boolean,
    int2,
    int4,
    int8,
    float4,
    float8,
    uuid,
    text,  // and what is sent like it
    jsonb,
    date,
    timestamp,
    timestamptz,
};

// Of a built-in type, by its oid.
BinaryForm binary_form(std::uint32_t type) noexcept;

// Of the built-in types that keys usually are of, by format_type()'s name; 0: another one.
std::uint32_t key_type(std::string_view name) noexcept;

void append_binary_header(std::string& out);
void append_binary_trailer(std::string& out);
void append_binary_int2(std::string& out, std::int16_t value);  // how many fields a row has
void append_binary_null(std::string& out);
// A field with its length. False: the text is not exactly as the type is printed, and it is the
// server's to say what it means; `out` is of no use then.
[[nodiscard]] bool append_binary(std::string& out, BinaryForm form, std::string_view text);
void append_binary_int8(std::string& out, std::int64_t value);
// The head of an array of one dimension without nulls; its elements follow, as fields.
void append_binary_array(std::string& out, std::uint32_t element, std::size_t size);

}  // namespace cqrs::apply
