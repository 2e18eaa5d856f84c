#include "rebuild/rebuild.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "admin/metrics.hpp"
#include "apply/backfill.hpp"
#include "apply/errors.hpp"
#include "apply/exported_snapshot.hpp"
#include "apply/position.hpp"
#include "apply/replica.hpp"
#include "apply/snapshot.hpp"
#include "copy/progress.hpp"
#include "history/reader.hpp"
#include "rebuild/replay.hpp"
#include "rebuild/target.hpp"
#include "verify/fence.hpp"

namespace cqrs {

namespace {

using namespace std::chrono_literals;
using namespace cqrs::rebuild;
using postgres::Connection;
using postgres::Error;
using postgres::format_lsn;
using postgres::Remedy;

constexpr auto fence_patience = 30s;  // longer than one that was left behind

// One topic's tables and handlers, once. The topic stands at a fence meanwhile, and everything is
// one transaction of the replica: who reads sees what was there before until it commits, and who
// kills this process, or the server, leaves that.
class Attempt {
  public:
    Attempt(const Settings& settings, const std::string& topic, const Target& target,
            bool from_history, const Stop& stop)
        : settings_(settings),
          topic_(topic),
          target_(target),
          from_history_(from_history),
          stop_(stop) {}

    // Throws Incomplete, postgres::Error, broker::Error: nothing has changed then.
    void run() {
        raise_fence();
        if (needs_snapshot()) take_snapshot();
        open_replica();
        replica_->exec("BEGIN");
        position_ = apply::load_position(*replica_, topic_);
        if (!position_.epoch || !position_.sequence)
            throw Error(Remedy::stop, "55000",
                        fmt::format("topic {} has not met the stream yet", topic_), "",
                        "Do its applier and the relay run? cqrs-replicator status");
        // Nobody else gives these handlers anything, or changes what is known of them.
        for (const auto& handler : target_.handlers)
            replica_->query("SELECT FROM cqrs.handler_state WHERE handler = $1 FOR UPDATE",
                            {handler.function.signature});
        build_tables();
        build_handlers();
        check();
        fence_->check(*replica_);
        check_position();
        replica_->commit();
        fence_->take_down();
        for (const std::string& line : report_) fmt::print("{}\n", line);
        std::fflush(stdout);
    }

  private:
    // That of a process that died expires.
    void raise_fence() {
        const auto until = std::chrono::steady_clock::now() + fence_patience;
        for (bool said = false;; said = true) {
            try {
                fence_.emplace(settings_.replica_database_url, topic_);
                return;
            } catch (const Error& e) {
                if (e.sqlstate() != "55006" || std::chrono::steady_clock::now() > until ||
                    stop_.requested())
                    throw;
                if (!said) spdlog::info("rebuild: {}; waiting for it", e.what());
            }
            stop_.wait_for(500ms);
        }
    }

    // Only a handler that knows events alone has nothing to be compared with.
    bool needs_snapshot() const {
        return !target_.tables.empty() ||
               std::any_of(target_.handlers.begin(), target_.handlers.end(),
                           [&](const Target::Handler& h) { return h.backfill || !from_history_; });
    }

    // The topic is brought to exactly that point.
    void take_snapshot() {
        snapshot_.emplace(apply::export_snapshot(settings_.database_url, stop_));
        primary_.emplace(apply::open_at(*snapshot_, settings_.database_url, "cqrs rebuild"));
        fence_->move(snapshot_->point, stop_);
    }

    void open_replica() {
        replica_.emplace(apply::open_replica(settings_.replica_database_url, "rebuild"));
        replica_->heed(stop_);
        // Should this process be killed: what it began ends with it.
        replica_->exec("SET client_connection_check_interval = '1s'");
        take_origin();
        replica_->exec("RESET search_path");  // for the user's names
        for (const std::string& table : settings_.clear) {
            const auto row = replica_->query("SELECT to_regclass($1)::oid::regclass", {table});
            if (row.is_null(0, 0))
                throw Error(Remedy::stop, "42P01", "the replica has no table " + table);
            const auto name = replica_->query(
                "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n "
                "ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
                {table});
            cleared_.emplace_back(name.get(0, 0));
        }
        replica_->exec("SET search_path = pg_catalog");
    }

    // The session of one that was killed may not have ended yet.
    void take_origin() {
        const auto until = std::chrono::steady_clock::now() + fence_patience;
        for (;;) {
            try {
                return apply::set_origin(*replica_, ".rebuild");
            } catch (const Error& e) {
                if (e.sqlstate() != "55006" || std::chrono::steady_clock::now() > until ||
                    stop_.wait_for(200ms))
                    throw;
            }
        }
    }

    void build_tables() {
        if (target_.tables.empty()) return;
        replica_->exec(apply::copy_settings);
        Metrics metrics;
        copy::Progress progress(settings_, metrics, true);
        for (const apply::Subscription& s : apply::load_subscriptions(*replica_, topic_)) {
            const auto found =
                std::find_if(target_.tables.begin(), target_.tables.end(),
                             [&](const verify::Pair& p) { return p.prefix == s.prefix; });
            if (found == target_.tables.end()) continue;
            verify::Pair pair = *found;
            verify::load_columns(pair, *primary_, *replica_);
            if (pair.there.empty() || s.needs_copy)
                throw Error(Remedy::stop, "55000",
                            fmt::format("{}: {}", pair.here,
                                        pair.there.empty()
                                            ? "the primary publishes no table as " + pair.prefix
                                            : "the applier has not copied it yet"));
            apply::copy_table(*primary_, *replica_,
                              {pair.prefix, pair.here, pair.rows_here, s.schema == "ignore"},
                              pair.there, pair.rows_there == pair.there, progress, stop_);
            const auto result =
                verify::compare(pair, *primary_, *replica_, [](const verify::Difference&) {});
            if (result.all() != 0)
                throw Error(Remedy::stop, "55000",
                            fmt::format("{}: {} of {} rows are not what the primary's are, though "
                                        "just copied",
                                        pair.here, result.all(), result.rows),
                            "", "A trigger or a rule of the replica's table may change them.");
            apply::copied_prefix(*replica_, s, snapshot_->point);
            report_.push_back(fmt::format("{}: {} rows, equal to the primary's at {}", pair.here,
                                          result.rows, format_lsn(snapshot_->point)));
        }
    }

    void build_handlers() {
        if (target_.handlers.empty()) return;
        Connection catalog = Connection::open(settings_.database_url, "cqrs rebuild");
        if (from_history_) check_reach(settings_, catalog, topic_, position_);
        if (!cleared_.empty()) {
            // As an ordinary session's: their triggers and foreign keys do their work.
            replica_->exec("SET LOCAL session_replication_role = origin; RESET search_path");
            for (const std::string& table : cleared_) replica_->exec("DELETE FROM " + table);
            replica_->exec(
                "SET LOCAL session_replication_role = replica; SET search_path = pg_catalog");
        }
        apply::Handlers handlers;
        Rows rows;
        for (const Target::Handler& h : target_.handlers)
            for (const std::string& pattern : h.patterns) {
                apply::Registration r;
                r.pattern = pattern;
                r.backfill = h.backfill;  // then resync and stop say that events are not all
                r.state = from_history_ ? apply::Registration::State::live
                                        : apply::Registration::State::pending;
                if (h.backfill) r.prefixes = apply::matching_prefixes(catalog, topic_, pattern);
                if (from_history_)
                    for (const std::string& prefix : r.prefixes) rows[prefix] = count(prefix);
                handlers.add(std::move(r), h.function);
            }
        if (!from_history_) {
            apply::give_rows(*primary_, *replica_, topic_, handlers, snapshot_->point, stop_);
            for (const Target::Handler& h : target_.handlers)
                report_.push_back(fmt::format("{}: from the primary's rows at {}", h.function.name,
                                              format_lsn(snapshot_->point)));
            return;
        }
        if (cleared_.empty()) forget(handlers);
        const Replayed replayed =
            replay(settings_, *replica_, topic_, handlers, position_, rows, stop_);
        for (const apply::Registration& r : handlers.registrations())
            apply::given(*replica_, r, handlers.functions()[r.function], r.prefixes, position_.lsn);
        for (const Target::Handler& h : target_.handlers)
            report_.push_back(fmt::format("{}: from the history, events 1 to {}", h.function.name,
                                          replayed.events));
    }

    // Rows of the primary's table at the snapshot, which is where the topic stands.
    std::int64_t count(const std::string& prefix) {
        const auto table = primary_->query(
            "SELECT p.relation::text, c.relkind = 'p' FROM cqrs.published p JOIN "
            "pg_catalog.pg_class c ON c.oid = p.relation WHERE p.prefix = $1",
            {prefix});
        if (table.rows() == 0) return 0;
        const std::string name(table.get(0, 0));
        apply::hold_table(*primary_, name);
        return primary_
            ->exec(
                fmt::format("SELECT count(*) FROM {}{}", table.get_bool(0, 1) ? "" : "ONLY ", name))
            .get_int(0, 0);
    }

    // Handlers with a backfill know <prefix>.truncate.
    void forget(const apply::Handlers& handlers) {
        const auto time = replica_->exec(
            "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
        for (const apply::Registration& r : handlers.registrations()) {
            std::string array;
            std::int64_t number = 0;
            for (const std::string& prefix : r.prefixes)
                apply::append_row_event(array, format_lsn(position_.lsn), ++number,
                                        position_.source, prefix + ".truncate",
                                        std::string(time.get(0, 0)), {});
            if (!array.empty())
                apply::Handlers::call(*replica_, handlers.functions()[r.function], array + "]");
        }
    }

    void check() {
        replica_->exec("SET LOCAL session_replication_role = origin; RESET search_path");
        for (const std::string& sql : settings_.checks) {
            const auto result = replica_->exec(sql);
            if (result.rows() != 1 || !result.get_bool(0, 0))
                throw Error(Remedy::stop, "55000", fmt::format("the check is not true: {}", sql));
        }
    }

    // A copy of the whole topic, which no fence holds up, may have come in between.
    void check_position() {
        replica_->query("SELECT FROM cqrs.position WHERE topic = $1 FOR UPDATE", {topic_});
        const auto now = apply::load_position(*replica_, topic_);
        if (now.epoch != position_.epoch || now.sequence != position_.sequence)
            throw Error(Remedy::retry, "40001",
                        fmt::format("topic {} was copied meanwhile", topic_), "", "Try again.");
    }

    const Settings& settings_;
    const std::string& topic_;
    const Target& target_;
    const bool from_history_;
    const Stop& stop_;
    std::optional<verify::Fence> fence_;
    std::optional<apply::ExportedSnapshot> snapshot_;
    std::optional<Connection> primary_;  // sees the snapshot
    std::optional<Connection> replica_;
    std::vector<std::string> cleared_;
    apply::Position position_;
    std::vector<std::string> report_;
};

void check_handlers(const Settings& settings, const Target& target, bool from_history,
                    const std::string& why_not) {
    for (const Target::Handler& h : target.handlers) {
        if (h.backfill || (from_history && !settings.clear.empty())) continue;
        throw Error(
            Remedy::stop, "55000",
            from_history
                ? fmt::format("{} was registered without backfill: it has not said how to forget",
                              h.function.name)
                : fmt::format("{} was registered without backfill, so only the whole history could "
                              "make it anew{}",
                              h.function.name, why_not.empty() ? "" : ", and " + why_not),
            "",
            from_history ? "Name the tables that it keeps with --clear: they are emptied first."
                         : "");
    }
}

void rebuild_topic(const Settings& settings, const std::string& topic, const Target& target,
                   const Stop& stop) {
    std::string why_not;
    if (!target.handlers.empty() && settings.source != "snapshot") {
        check_handlers(settings, target, true, {});
        try {
            return Attempt(settings, topic, target, true, stop).run();
        } catch (const Incomplete& e) {
            why_not = e.what();
        } catch (const history::NotKept& e) {
            why_not = e.what();
        }
        if (settings.source == "history") throw Error(Remedy::stop, "55000", why_not);
        spdlog::info("rebuild: {}: from a snapshot, not from the history: {}", topic, why_not);
    }
    check_handlers(settings, target, false, why_not);
    Attempt(settings, topic, target, false, stop).run();
}

}  // namespace

int run_rebuild(const Settings& settings, const Stop& stop) {
    const auto said = [](const std::string& where, const Error& e) {
        fmt::print(stderr, "rebuild: {}{}{}{}{}. Nothing was changed there\n", where, e.what(),
                   e.detail().empty() ? "" : " (" + e.detail() + ")", e.hint().empty() ? "" : ". ",
                   e.hint());
        return 1;
    };
    std::map<std::string, Target> targets;
    try {
        auto replica = Connection::open(settings.replica_database_url, "cqrs rebuild");
        replica.exec("RESET search_path");  // for the user's names
        targets = find_targets(settings, replica);
    } catch (const Error& e) {
        return said("", e);
    }
    int status = 0;
    for (const auto& [topic, target] : targets) {
        if (stop.requested()) return 1;
        try {
            rebuild_topic(settings, topic, target, stop);
        } catch (const Error& e) {
            status = said(topic + ": ", e);
        } catch (const broker::Error& e) {
            status = said(topic + ": ", Error(Remedy::retry, "", e.what()));
        } catch (const Incomplete& e) {
            status = said(topic + ": ", Error(Remedy::stop, "", e.what()));
        }
    }
    return status;
}

}  // namespace cqrs
