// The backend's connection to the attached replica: one, kept between queries. Every wait ends on
// a cancel or termination of this session, and has a limit of its own while connecting.
//
// Plain data only: every function here may ereport (a cancel does). A query that is left that way
// costs the connection, at the end of the transaction.
#pragma once

#include "guard.hpp"

namespace cqrs {

struct RemoteFailure {
    bool away;  // no connection, or it broke; else the replica refused
    char sqlstate[6];
    char message[512], detail[512], hint[512];
};

// libpq's parameters, each list ended by nullptr.
struct RemoteAddress {
    const char** keywords;
    const char** values;
    uint64 version;  // another one: connect anew
};

// Connects unless that is done. False: `failure` says why.
bool remote_connect(const RemoteAddress& address, RemoteFailure* failure);

// One statement; each row goes to `row` (values as text, nullptr for NULL). False: `failure`.
using RemoteRow = void (*)(void* to, int columns, const char* const* values);
bool remote_query(const char* sql, int count, const char* const* parameters, RemoteRow row,
                  void* to, RemoteFailure* failure);

void remote_close();

// The failure as this session's ERROR.
[[noreturn]] void remote_error(const RemoteFailure& failure);

}  // namespace cqrs
