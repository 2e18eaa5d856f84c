// The limit of open files: every connection, queue and wake-up is one.
#pragma once

#include <string>
#include <string_view>

namespace cqrs {

// Takes all that this process may have without asking anybody. Throws ConfigError when a relay or
// applier could not even begin.
void raise_open_files();

// What to do, if the reason is that there are too many; else "".
std::string about_open_files(std::string_view reason);

}  // namespace cqrs
