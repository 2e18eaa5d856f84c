// Between the database's encoding and UTF-8, without an ERROR: what cannot be converted is the
// caller's to report. Needs a transaction (the conversion functions are looked up).
#pragma once

#include "guard.hpp"

#include <string_view>

namespace cqrs {

// False if `text` cannot be said in the other encoding. `converted` is `text` itself or palloc'd in
// the current context; to_utf8 does not validate what claims to be UTF-8 (the JSON writer does).
bool to_utf8(std::string_view text, std::string_view& converted);
bool from_utf8(std::string_view text, std::string_view& converted);

}  // namespace cqrs
