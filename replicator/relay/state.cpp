#include "relay/state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "relay/wire.hpp"

namespace cqrs::relay {

using postgres::format_lsn;
using postgres::parse_lsn;

std::optional<RelayState> load_state(postgres::Connection& sql, const std::string& slot) {
    const auto r = sql.query(
        "SELECT epoch, lsn, topics, system_identifier, timeline, database, options, owner, "
        "reason FROM cqrs.relay_state WHERE slot = $1",
        {slot});
    if (r.rows() == 0) return std::nullopt;
    RelayState s;
    s.epoch = r.get_int(0, 0);
    s.lsn = parse_lsn(r.get(0, 1));
    s.topics = topics_from_json(r.get(0, 2));
    s.identity = {std::string(r.get(0, 3)), std::string(r.get(0, 4)), std::string(r.get(0, 5)),
                  std::string(r.get(0, 6))};
    s.owner = r.get(0, 7);
    s.reason = r.get(0, 8);
    return s;
}

std::optional<SlotState> load_slot(postgres::Connection& sql, const std::string& slot) {
    const auto r = sql.query(
        "SELECT coalesce(plugin, ''), slot_type, coalesce(database, ''), "
        "coalesce(wal_status, ''), active, coalesce(confirmed_flush_lsn, '0/0') "
        "FROM pg_replication_slots WHERE slot_name = $1",
        {slot});
    if (r.rows() == 0) return std::nullopt;
    SlotState s;
    s.plugin = r.get(0, 0);
    s.type = r.get(0, 1);
    s.database = r.get(0, 2);
    s.wal_status = r.get(0, 3);
    s.active = r.get_bool(0, 4);
    s.confirmed = parse_lsn(r.get(0, 5));
    return s;
}

std::string broken_continuity(const std::optional<RelayState>& row, const SlotState& slot,
                              const Identity& identity, bool slot_is_new) {
    if (!row) return "there is no relay_state for the slot";
    const Identity& was = row->identity;
    if (was.system_identifier != identity.system_identifier)
        return "the primary is another cluster (system identifier)";
    if (was.timeline != identity.timeline)
        return fmt::format("the primary is on timeline {}, was on {}", identity.timeline,
                           was.timeline);
    if (was.database != identity.database) return "the database is another one (OID)";
    if (was.options != identity.options)
        return fmt::format("the options are \"{}\", were \"{}\"", identity.options, was.options);
    // After what explains it better: a promoted standby has no slot.
    if (slot_is_new) return "the slot is new";
    if (slot.confirmed > row->lsn)
        return fmt::format("the slot is at {}, ahead of relay_state's {}",
                           format_lsn(slot.confirmed), format_lsn(row->lsn));
    return {};
}

std::int64_t next_epoch(std::int64_t now_us, std::int64_t known) {
    return std::max(now_us, known + 1);
}

bool take_ownership(postgres::Connection& sql, const std::string& slot,
                    const std::optional<RelayState>& seen, const RelayState& mine) {
    const std::string epoch = std::to_string(mine.epoch), lsn = format_lsn(mine.lsn),
                      topics = to_json(mine.topics);
    const Identity& i = mine.identity;
    if (!seen)
        return sql.query(
                      "INSERT INTO cqrs.relay_state (slot, owner, epoch, lsn, topics, "
                      "system_identifier, timeline, database, options, reason) "
                      "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (slot) DO "
                      "NOTHING",
                      {slot, mine.owner, epoch, lsn, topics, i.system_identifier, i.timeline,
                       i.database, i.options, mine.reason})
                   .affected() == 1;
    return sql.query(
                  "UPDATE cqrs.relay_state SET owner = $2, epoch = $3, lsn = $4, topics = $5, "
                  "system_identifier = $6, timeline = $7, database = $8, options = $9, "
                  "reason = $13, updated_at = clock_timestamp() "
                  "WHERE slot = $1 AND owner = $10 AND epoch = $11 AND lsn = $12",
                  {slot, mine.owner, epoch, lsn, topics, i.system_identifier, i.timeline,
                   i.database, i.options, seen->owner, std::to_string(seen->epoch),
                   format_lsn(seen->lsn), mine.reason})
               .affected() == 1;
}

std::string random_token() {
    std::random_device device;
    std::string token;
    for (int i = 0; i < 4; ++i) token += fmt::format("{:08x}", device());
    return token;
}

}  // namespace cqrs::relay
