// The two ends of a copy that several jobs make.
#pragma once

#include "apply/exported_snapshot.hpp"
#include "postgres/connection.hpp"

namespace cqrs::copy {

// On the primary, under the snapshot. Error{retry} if it is gone.
postgres::Connection open_reader(const apply::ExportedSnapshot& snapshot,
                                 const std::string& database_url);
// On the replica: reads values as the reader prints them.
postgres::Connection open_writer(const std::string& replica_database_url);

postgres::Error stopped();  // what a copy throws when stop was requested

}  // namespace cqrs::copy
