// User-defined types that a table of the primary needs: enums, domains, composites.
#pragma once

#include <string>

#include "postgres/connection.hpp"

namespace cqrs::copy {

void make_schema(postgres::Connection& replica, const std::string& name);

// Creates on the replica, in order of dependence, what the relation's columns need and the replica
// lacks. A type of that name that is there is taken as it is. Throws Error{stop} for what has to be
// made by hand.
void make_types(postgres::Connection& primary, postgres::Connection& replica,
                const std::string& relation);

}  // namespace cqrs::copy
