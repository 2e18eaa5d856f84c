// The replica that answers this primary's queries: cqrs.attached_replica and its foreign server.
//
// Plain data only: every function here may ereport.
#pragma once

#include "remote.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace cqrs {

struct Attached {
    bool fall_back;  // when it is away, this database answers
    TimestampTz since;
};

// As this statement sees it: both branches of a query that asks twice get the same answer. False:
// none is attached.
bool find_attached(Attached* out);

// With the calling role's user mapping.
RemoteAddress attached_address(const Attached& attached);

}  // namespace cqrs
