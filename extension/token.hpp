// A token: a place in a primary's WAL, as text that travels with an application's answer:
// 1:/<database>/<system identifier>/<timeline>:<LSN>. The middle is the events' source.
//
// Plain data only: every function here may ereport.
#pragma once

#include "guard.hpp"

extern "C" {
#include "access/xlogdefs.h"
}

namespace cqrs {

struct Token {
    const char* source;  // palloc'd
    XLogRecPtr lsn;
};

// ERROR 22023 when it is not one.
Token parse_token(const char* text);

// Of one history and the first one's timeline the newer: a primary was promoted in between.
bool newer_timeline(const char* source, const char* than);

// End of this session's last commit; 0: it has committed nothing that wrote WAL.
XLogRecPtr last_commit();
// The token of a place in this database's WAL, palloc'd.
char* make_token(XLogRecPtr lsn);

}  // namespace cqrs
