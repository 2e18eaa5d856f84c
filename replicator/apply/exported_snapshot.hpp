// A point of the primary's WAL and sessions that see the primary exactly as of it.
#pragma once

#include <cstdint>
#include <string>

#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs::apply {

// Both ends of a copy print and read values in the same way; row-level security must not hide rows
// silently (off: an error where a policy would filter).
inline constexpr const char* copy_settings =
    "SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET xmloption = 'content'; SET row_security = "
    "off";

struct ExportedSnapshot {
    postgres::Connection connection;  // the snapshot and the temporary slot live as long as this
    std::string name;
    std::uint64_t point;  // it holds exactly the commits whose end LSN is at or before this
};

// Waits for transactions of the primary that are older than the snapshot, until stop is requested.
ExportedSnapshot export_snapshot(const std::string& database_url, const Stop& stop);

// A session of the primary in a transaction that sees the snapshot.
postgres::Connection open_at(const ExportedSnapshot& snapshot, const std::string& database_url,
                             const std::string& application_name);

}  // namespace cqrs::apply
