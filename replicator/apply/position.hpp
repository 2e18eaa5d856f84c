// cqrs.position and cqrs.subscription_state: how far a topic has come on this replica.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "postgres/connection.hpp"

namespace cqrs::apply {

struct Position {
    bool exists = false;
    std::string source;                           // "" until a message was seen
    std::optional<std::int64_t> epoch, sequence;  // sequence: unset until the stream is met
    std::uint64_t lsn = 0;
    std::optional<std::int64_t> received;  // set while a large transaction is being spooled
    std::string state;
    // Never copied and never met: a row may exist only to say why the topic is stopped.
    bool fresh() const { return !exists || (!sequence && lsn == 0); }
};

struct Subscription {
    std::string prefix;
    std::uint32_t relation = 0;
    bool notify = false;
    std::string schema;  // stop, follow, ignore
    bool park = false;
    bool needs_copy = true;
    std::uint64_t snapshot_lsn = 0;
};

// The end of a transaction in the stream.
struct Boundary {
    std::int64_t sequence = 0;
    std::uint64_t lsn = 0;
    std::string time;  // RFC 3339, from the event; "" if unknown
};

Position load_position(postgres::Connection& connection, const std::string& topic);
std::vector<Subscription> load_subscriptions(postgres::Connection& connection,
                                             const std::string& topic);

// BEGIN, and the first statement of an applying transaction: false when the row is not where we
// think it is. keep_received: spooled events remain beyond the boundary. handlers:
// Handlers::version(). lazy: the commit does not wait until it is on disk. Once a connection:
// prepare_advance(). Nor does it pass a fence.
void prepare_advance(postgres::Connection& connection);
bool advance(postgres::Connection& connection, const std::string& topic, const Position& from,
             const Boundary& to, bool keep_received, const std::string& handlers);  // without BEGIN
void begin(postgres::Connection& connection, bool lazy);  // where advance() comes last
bool begin_advance(postgres::Connection& connection, const std::string& topic, const Position& from,
                   const Boundary& to, bool keep_received, const std::string& handlers, bool lazy);
// The same as a step of transact(), which an ERROR ends instead. For a topic without handlers.
postgres::Step advance_surely(const std::string& topic, const Position& from, const Boundary& to);
// Meets the stream: the events after `sequence` are those after the copy.
bool anchor_position(postgres::Connection& connection, const std::string& topic,
                     const std::string& source, std::int64_t epoch, std::int64_t sequence);
// Without a copy, after `sequence` (0: no history at all). Marks the topic's prefixes live.
void begin_position(postgres::Connection& connection, const std::string& topic,
                    const std::string& source, std::int64_t epoch, std::int64_t sequence = 0);
// The topic's prefixes need no copy, its handlers no backfill: it is at its very beginning.
void begin_prefixes(postgres::Connection& connection, const std::string& topic);
// After a copy at `point`, in its transaction. whole: the position starts anew.
void copied_position(postgres::Connection& connection, const std::string& topic,
                     std::uint64_t point, bool whole, std::int64_t epoch);
void copied_prefix(postgres::Connection& connection, const Subscription& subscription,
                   std::uint64_t point);
bool received_position(postgres::Connection& connection, const std::string& topic,
                       const Position& from, std::int64_t received);
// Its own transaction; the row is made when there is none.
void stop_position(postgres::Connection& connection, const std::string& topic,
                   const std::string& error);
// Not healed yet; nothing new while one that begins at the same event is not. Returns what is
// written: a later session may know less of the cause. 0: unknown.
std::string record_incident(postgres::Connection& connection, const std::string& topic,
                            const std::string& what, std::int64_t from, std::int64_t to);
void heal_incidents(postgres::Connection& connection, const std::string& topic,
                    const std::string& how);
// Everything about a topic that has no subscription any more.
void forget_topic(postgres::Connection& connection, const std::string& topic);

}  // namespace cqrs::apply
