// A connection to the replica that writes as a replica: settings pinned, triggers and foreign keys
// off, marked with an origin so that another relay leaves these changes out.
#pragma once

#include <string>

#include "postgres/connection.hpp"

namespace cqrs::apply {

// Throws postgres::Error; with a hint where the role lacks a right.
// stop: a request to stop ends the attempt.
postgres::Connection open_replica(const std::string& url, const std::string& topic,
                                  const Stop* stop = nullptr);

// Session-level, one holder per replica database and topic. False: another applier has it.
bool try_lock_topic(postgres::Connection& connection, const std::string& topic);

// cqrs_<OID of the database>_<topic>: origins belong to the whole server, which may hold several
// replicas.
std::string origin_name(postgres::Connection& connection, const std::string& topic);

// What is true of a row of pg_replication_origin that is a lane's, of whatever database.
inline constexpr const char* is_lane_origin = "roname ~ '^cqrs_[0-9]+_[^.]+[.][0-9]+$'";

// Those of its lanes too. False: a session that had one has not ended yet. Without the right to
// drop it stays, and says so.
bool drop_origin(postgres::Connection& connection, const std::string& topic);

// Sets the session's replication origin, origin_name(). Where the role or the server does not allow
// it, it says so once per process and goes on: only a relay on this replica would notice.
void set_origin(postgres::Connection& connection, const std::string& topic);

// The same for a lane (lane.hpp), origin_name() and its number. The server has few of them, and
// topics come first: throws postgres::Error when half are taken, or the role has no right.
void take_lane_origin(postgres::Connection& connection, const std::string& topic,
                      std::size_t number);

}  // namespace cqrs::apply
