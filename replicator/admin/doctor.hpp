// `cqrs-replicator doctor`: checks primary, broker and replica and says how to mend what is wrong.
#pragma once

#include "config.hpp"

namespace cqrs {

// Prints a line per check. Returns 1 if one failed, else 0.
int run_doctor(const Settings& settings);

}  // namespace cqrs
