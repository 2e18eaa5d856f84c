// postgres::Error from what libpq's asynchronous calls leave behind.
#pragma once

#include "postgres/connection.hpp"

namespace cqrs::relay {

// result: the failed one; nullptr: the connection itself failed.
[[noreturn]] void throw_error(PGconn* connection, const PGresult* result);

}  // namespace cqrs::relay
