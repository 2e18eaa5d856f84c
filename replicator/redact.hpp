// Passwords stay out of logs, errors and the process list.
#pragma once

#include <string>

namespace cqrs {

// "postgresql://app:secret@h/db" -> "postgresql://app:***@h/db", for logs; also "password=..." in
// keyword strings and amqp URLs. Never log a URL that has not passed through here.
std::string redact(const std::string& url_or_conninfo);

// The same for one argument of the command line: a URL in it goes to its end, so that also a
// password with white space or quotes is hidden whole.
std::string redact_argument(const std::string& argument);

}  // namespace cqrs
