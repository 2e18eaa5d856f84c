// The row of cqrs.relay_state: which numbering (epoch) is in force and how far it has been
// confirmed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "postgres/connection.hpp"
#include "relay/types.hpp"

namespace cqrs::relay {

// What makes an epoch: if one of these differs, continuity cannot be proved.
struct Identity {
    std::string system_identifier;
    std::string timeline;
    std::string database;  // its OID
    std::string options;   // plugin options that decide what counts as an event
    bool operator==(const Identity&) const = default;
};

struct RelayState {
    std::int64_t epoch = 0;
    Lsn lsn = 0;
    TopicPositions topics;
    Identity identity;
    std::string owner;
    std::string reason;  // why the epoch began
    bool operator==(const RelayState&) const = default;
};

struct SlotState {
    std::string plugin, type, database, wal_status;
    bool active = false;
    Lsn confirmed = 0;  // 0: still being created
};

std::optional<RelayState> load_state(postgres::Connection& sql, const std::string& slot);
std::optional<SlotState> load_slot(postgres::Connection& sql, const std::string& slot);

// Why the numbering cannot go on; empty: it can. Pure.
std::string broken_continuity(const std::optional<RelayState>& row, const SlotState& slot,
                              const Identity& identity, bool slot_is_new);

// Later than now and than any epoch known: epochs are ordered even if the clock went back.
std::int64_t next_epoch(std::int64_t now_us, std::int64_t known);

// Compare-and-set: makes `mine` the row if it is still `seen`. False: another relay was faster.
bool take_ownership(postgres::Connection& sql, const std::string& slot,
                    const std::optional<RelayState>& seen, const RelayState& mine);

// $1 slot, $2 owner, $3 lsn, $4 topics; no row: the ownership is lost.
inline constexpr const char* advance_state_sql =
    "UPDATE cqrs.relay_state SET lsn = $3, topics = $4, updated_at = clock_timestamp() "
    "WHERE slot = $1 AND owner = $2";

// 128 random bits, hexadecimal: owners and heartbeat tokens.
std::string random_token();

}  // namespace cqrs::relay
