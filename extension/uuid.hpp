// Time-ordered uuids (version 7, RFC 9562) from Postgres' strong random numbers.
#pragma once

#include "guard.hpp"

extern "C" {
#include "utils/uuid.h"
}

namespace cqrs {

// Each is greater than the one before in this backend, also when the clock stands still or steps
// back.
pg_uuid_t new_uuid();

}  // namespace cqrs
