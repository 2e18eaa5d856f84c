// The start of a session: what must be true of the primary, who owns the slot, which epoch.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "relay/source.hpp"
#include "relay/wire.hpp"

namespace cqrs::relay {

using namespace std::chrono_literals;
using postgres::Error;
using postgres::format_lsn;
using postgres::Remedy;

namespace {

constexpr const char* plugin = "pg_cqrs";

// The elements of a list setting, without quotes and blanks.
bool lists(std::string_view setting, std::string_view name) {
    while (!setting.empty()) {
        const auto comma = setting.find(',');
        std::string_view item = setting.substr(0, comma);
        while (!item.empty() && (item.front() == ' ' || item.front() == '"')) item.remove_prefix(1);
        while (!item.empty() && (item.back() == ' ' || item.back() == '"')) item.remove_suffix(1);
        if (item == name) return true;
        setting = comma == setting.npos ? std::string_view() : setting.substr(comma + 1);
    }
    return false;
}

std::int64_t now_us() {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

}  // namespace

void Source::check_primary(postgres::Connection& sql) {
    const auto r = sql.exec(
        "SELECT pg_is_in_recovery(), current_database(), current_setting('wal_level'), "
        // NULL if the server has no such setting or hides it from a role that is no superuser.
        "(SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries'), "
        "(SELECT oid FROM pg_database WHERE datname = current_database()), "
        "EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cqrs')");
    if (r.get_bool(0, 0))
        throw Error(Remedy::retry, "",
                    "the server of DATABASE_URL is a standby, waiting for its promotion");
    if (r.get(0, 2) != "logical")
        throw Misconfigured(fmt::format(
            "wal_level is {}, it must be logical: run ALTER SYSTEM SET wal_level = logical; and "
            "restart the primary",
            r.get(0, 2)));
    if (!r.is_null(0, 3) && !lists(r.get(0, 3), plugin))
        throw Misconfigured(
            "the server allows no output plugin pg_cqrs: run ALTER SYSTEM SET "
            "output_plugin_libraries = pgoutput, test_decoding, pg_cqrs; (without quotes round the "
            "whole) and SELECT pg_reload_conf();");
    if (!r.get_bool(0, 5))
        throw Misconfigured(fmt::format(
            "extension pg_cqrs is not installed in database \"{}\": run CREATE EXTENSION pg_cqrs;",
            r.get(0, 1)));
    identity_.database = r.get(0, 4);
    identity_.options = settings_.all_origins ? "origins=any" : "origins=none";
    heartbeat_sql_ = sql.server_version() >= 170000
                         ? "SELECT pg_logical_emit_message(false, 'cqrs.heartbeat', $1, true)"
                         : "SELECT pg_logical_emit_message(false, 'cqrs.heartbeat', $1)";
}

void Source::run(std::optional<postgres::Connection> opened,
                 std::optional<postgres::Connection> walsender) {
    auto sql = opened ? std::move(*opened)
                      : postgres::Connection::open(settings_.database_url, "cqrs relay", false, 10s,
                                                   &stop_);
    sql.heed(stop_);
    // Not on: with synchronous_standby_names it would wait for a walsender that waits for us. Not
    // off: the slot could reach the disk before the row.
    sql.exec("SET synchronous_commit = local");
    check_primary(sql);

    std::optional<Stream> stream;
    try {
        if (!walsender)
            walsender =
                postgres::Connection::open(settings_.database_url, "cqrs relay", true, 10s, &stop_);
        stream.emplace(std::move(*walsender), stop_);
    } catch (const Error& e) {
        if (e.sqlstate() != "42501") throw;
        throw Misconfigured(std::string(e.what()) +
                            ": the role of DATABASE_URL needs REPLICATION: run ALTER ROLE ... "
                            "REPLICATION;");
    }
    const auto system = stream->connection().exec("IDENTIFY_SYSTEM");
    identity_.system_identifier = system.get(0, 0);
    identity_.timeline = system.get(0, 1);
    auto session = std::make_shared<Session>();
    session->source = make_source(system.get(0, 3), system.get(0, 0), system.get(0, 1));
    const auto timeout =
        stream->connection()
            .exec("SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'")
            .get_int(0, 0);
    status_interval_ = timeout == 0
                           ? 10'000ms
                           : std::clamp(std::chrono::milliseconds(timeout / 3), 10ms, 10'000ms);

    heartbeat_token_ = random_token();
    session_ = session;
    if (!acquire(sql, *stream)) return;
    session->epoch = state_.epoch;
    load_retention(sql);
    pump(sql, *stream);
}

// False: stop was requested.
bool Source::acquire(postgres::Connection& sql, Stream& stream) {
    for (;;) {
        const Acquired acquired = try_acquire(sql, stream);
        if (acquired == Acquired::yes) break;
        if (acquired == Acquired::busy) {
            if (!standing_by_)
                spdlog::info("relay: slot \"{}\" is in use; standing by", settings_.slot);
            standing_by_ = true;
            health_.set("relay", "");
            health_.note("relay.role", "standby");
            stop_.wait_for(1s);
        }
        if (stop_.requested()) return false;
    }
    if (standing_by_) spdlog::info("relay: slot \"{}\" is free, taking over", settings_.slot);
    standing_by_ = false;
    health_.note("relay.role", "active");
    return true;
}

Source::Acquired Source::try_acquire(postgres::Connection& sql, Stream& stream) {
    const auto row = load_state(sql, settings_.slot);
    auto slot = load_slot(sql, settings_.slot);
    bool slot_is_new = false;
    if (slot) {
        if (slot->plugin != plugin)
            throw Misconfigured(fmt::format(
                "slot \"{}\" belongs to {}: choose another name with --slot", settings_.slot,
                slot->plugin.empty() ? "physical replication" : "plugin " + slot->plugin));
        const auto database = sql.exec("SELECT current_database()");
        if (slot->database != database.get(0, 0))
            throw Misconfigured(fmt::format(
                "slot \"{}\" belongs to database \"{}\": choose another name with --slot",
                settings_.slot, slot->database));
        if (slot->active) return Acquired::busy;
        if (slot->wal_status == "lost") {
            spdlog::error(
                "relay: slot \"{}\" was invalidated by the primary (max_slot_wal_keep_size?): "
                "events "
                "are lost; re-creating it under a new epoch, replicas will copy anew",
                settings_.slot);
            sql.query("SELECT pg_drop_replication_slot($1)", {settings_.slot});
            slot.reset();
            invalidated_ = true;
        }
    }
    if (!slot) {
        if (!create_slot(sql, stream)) return Acquired::again;
        slot_is_new = true;
        slot = load_slot(sql, settings_.slot);
        if (!slot) return Acquired::again;
    }
    if (slot->confirmed == 0) return Acquired::busy;  // being created
    // Without the broker nothing can be published anyway, so there is no hurry.
    const auto witness = row ? ask_witness(settings_, witness_silence_) : std::nullopt;
    const Lsn flushed =
        postgres::parse_lsn(sql.exec("SELECT pg_current_wal_flush_lsn()").get(0, 0));
    decide(row, *slot, slot_is_new, witness, flushed);
    try {
        stream.start(settings_.slot, state_.lsn, stream_options());
    } catch (const Error& e) {
        if (e.sqlstate() == "55006") return Acquired::busy;
        throw;
    }
    // The slot is ours from here on. Another relay may have moved it between the look and the grip;
    // nothing has been confirmed yet.
    const auto slot_now = load_slot(sql, settings_.slot);
    if (load_state(sql, settings_.slot) != row || !slot_now || slot_now->confirmed > state_.lsn ||
        !take_ownership(sql, settings_.slot, row, state_))
        throw Error(Remedy::retry, "", "another relay was active in between; starting again");
    contradiction_.clear();
    return Acquired::yes;
}

void Source::decide(const std::optional<RelayState>& row, const SlotState& slot, bool slot_is_new,
                    const std::optional<Witness>& witness, Lsn flushed) {
    std::string broken = broken_continuity(row, slot, identity_, slot_is_new);
    if (slot_is_new && row && invalidated_)
        broken = "the slot was invalidated by the primary (max_slot_wal_keep_size?)";
    if (broken.empty() && witness) broken = contradicted(*row, session_->source, *witness, flushed);
    if (broken.empty()) broken = contradiction_;
    recall_ = Recall();
    if (broken.empty()) {
        state_ = *row;
        if (witness && witness->source == session_->source) recall_ = Recall(*row, *witness);
    } else {
        state_ = RelayState();
        state_.epoch =
            next_epoch(now_us(), std::max(row ? row->epoch : 0, witness ? witness->epoch : 0));
        state_.lsn = slot.confirmed;
        if (row) state_.reason = broken;
        if (row)
            spdlog::warn("relay: {}: a new epoch begins, replicas will copy anew (epoch {}, {})",
                         broken, state_.epoch, format_lsn(state_.lsn));
        else
            spdlog::info("relay: first epoch {} begins at {}", state_.epoch,
                         format_lsn(state_.lsn));
    }
    state_.identity = identity_;
    state_.owner = random_token();
    invalidated_ = false;
}

bool Source::create_slot(postgres::Connection& sql, Stream& stream) {
    spdlog::info("relay: creating slot \"{}\"", settings_.slot);
    bool told = false;
    try {
        const bool created = stream.create_slot(settings_.slot, stop_, [&] {
            if (told) return;
            told = true;
            const auto r = sql.exec(
                "SELECT coalesce(string_agg(who, ', '), 'none is left') FROM ("
                "(SELECT 'pid ' || pid AS who FROM pg_stat_activity "
                "WHERE backend_xid IS NOT NULL ORDER BY xact_start LIMIT 10) UNION ALL "
                "(SELECT 'prepared ' || quote_literal(gid) FROM pg_prepared_xacts "
                "ORDER BY prepared LIMIT 10)) AS t");
            spdlog::warn(
                "relay: creating the slot waits for the transactions that are open now, in any "
                "database: {}",
                r.get(0, 0));
            health_.set("relay", "creating the slot waits for open transactions");
        });
        if (told) health_.set("relay", "");
        return created;
    } catch (const Error& e) {
        if (e.sqlstate() == "42710") return false;  // another relay was faster
        throw;
    }
}

std::string Source::stream_options() const {
    const auto batch = std::clamp<std::size_t>(
        std::min(settings_.batch_bytes, settings_.max_message_bytes), 1024, 16 * 1024 * 1024);
    const std::size_t reserve = 64 * 1024;  // what a message holds beside the event
    const auto event = std::max<std::size_t>(settings_.max_message_bytes > 2 * reserve
                                                 ? settings_.max_message_bytes - reserve
                                                 : settings_.max_message_bytes / 2,
                                             1024);
    return fmt::format(
        "(\"format\" 'frame', \"batch_bytes\" '{}', \"max_event_bytes\" '{}', \"origins\" '{}', "
        "\"source\" {}, \"heartbeat\" '{}')",
        batch, event, settings_.all_origins ? "any" : "none",
        postgres::quote_literal(session_->source), heartbeat_token_);
}

}  // namespace cqrs::relay
