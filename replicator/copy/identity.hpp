// By which columns each side tells rows apart. An event names the row that it changed by the
// primary's replica identity: a replica that finds rows by another key would keep the old one.
#pragma once

#include <string>
#include <vector>

#include "postgres/connection.hpp"

namespace cqrs::copy {

// Of the published table. Columns: sorted and quoted, "a, b"; "" with REPLICA IDENTITY FULL, whose
// events name the whole row.
struct Identity {
    std::string columns;
    bool in_use = true;  // must be the key that the applier uses: with REPLICA IDENTITY USING INDEX
                         // every event names the row, and any key of these columns will do
};
Identity identity_of(postgres::Connection& primary, const std::string& relation);

// The keys by which the applier can find rows, in the same form; the one that it uses first.
std::vector<std::string> keys_of(postgres::Connection& replica, const std::string& relation);

bool finds(const std::vector<std::string>& keys, const Identity& identity);

// SQL for the replica that mends it.
std::string identity_statement(const Identity& identity, const std::string& relation);

// Error{stop, 55000} unless the replica finds rows by the primary's identity.
void require_identity(const Identity& identity, const std::vector<std::string>& keys,
                      const std::string& prefix, const std::string& relation);

}  // namespace cqrs::copy
