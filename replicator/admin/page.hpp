// The page at /: one self-contained HTML document that polls /status.json.
#pragma once

#include <string_view>

namespace cqrs {

std::string_view admin_page() noexcept;

}  // namespace cqrs
