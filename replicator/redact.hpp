#pragma once

#include <string>

namespace cqrs {

// redact() of config.hpp for one argument of the command line: a URL in it goes to its end, so that
// also a password with white space or quotes is hidden whole.
std::string redact_argument(const std::string& argument);

}  // namespace cqrs
