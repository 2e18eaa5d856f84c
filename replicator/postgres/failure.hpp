// What libpq says went wrong, as an Error. For this folder only.
#pragma once

#include <libpq-fe.h>

#include <string>

#include "postgres/error.hpp"

namespace cqrs::postgres {

std::string text(const char* s);  // "" for NULL
// libpq ends its messages with a newline and may append several lines.
std::string one_line(const char* message);

Error stopping();  // a request to stop broke it off

// The connection is broken, or there is none (c may be NULL).
[[noreturn]] void no_connection(PGconn* c, const std::string& what);
// libpq keeps no result of an attempt to connect: with verbose messages the SQLSTATE stands in the
// text, "FATAL:  28P01: ...", and the server's line of code below it.
[[noreturn]] void no_login(PGconn* c);
// The server's ERROR. connected: whether the connection survived it.
Error from_result(const PGresult* result, bool connected);

}  // namespace cqrs::postgres
