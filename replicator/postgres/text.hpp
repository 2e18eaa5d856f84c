// What stands in SQL texts and in messages of the server: identifiers, literals, LSNs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cqrs::postgres {

std::string quote_identifier(std::string_view name);
std::string quote_literal(std::string_view value);  // safe under either standard_conforming_strings

std::string format_lsn(std::uint64_t lsn);       // "0/16B3748"
std::uint64_t parse_lsn(std::string_view text);  // throws std::invalid_argument

}  // namespace cqrs::postgres
