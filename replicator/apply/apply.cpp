#include "apply/apply.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "apply/freshness.hpp"
#include "apply/position.hpp"
#include "apply/replica.hpp"
#include "apply/report.hpp"
#include "apply/worker.hpp"
#include "broker/names.hpp"

namespace cqrs {

namespace {

using namespace cqrs::apply;

// What a worker has to hear of: its prefixes, their tables, and orders to copy.
struct Wanted {
    std::string relation, schema;
    bool notify = false, needs_copy = false;
    std::string retry;  // which attempt was asked for; empty: none
    std::string on_error;
};
using Prefixes = std::map<std::string, Wanted>;
struct Topic {
    Prefixes prefixes;
    std::string handlers;  // as registered
    std::string fence;
};

bool worth_waking(const Topic& known, const Topic& wanted_now) {
    const Prefixes &before = known.prefixes, &now = wanted_now.prefixes;
    if (before.size() != now.size() || known.handlers != wanted_now.handlers ||
        known.fence != wanted_now.fence)
        return true;
    for (const auto& [prefix, wanted] : now) {
        const auto it = before.find(prefix);
        if (it == before.end() || it->second.relation != wanted.relation ||
            it->second.notify != wanted.notify || it->second.schema != wanted.schema ||
            (wanted.needs_copy && !it->second.needs_copy) ||
            (!wanted.retry.empty() && wanted.retry != it->second.retry) ||
            it->second.on_error != wanted.on_error)
            return true;
    }
    return false;
}

class Supervisor {
  public:
    Supervisor(const Settings& settings, Stop& stop, Metrics& metrics, Health& health,
               std::optional<postgres::Connection> replica)
        : settings_(settings),
          stop_(stop),
          opened_(std::move(replica)),
          health_(health),
          heartbeats_(settings),
          reports_(settings),
          copies_(settings, metrics, settings.bar),
          context_{settings, metrics, health, heartbeats_, copies_} {}

    int run() {
        heartbeats_.thread().start();
        reports_.thread().start();
        Backoff backoff;
        std::string said;
        while (!stop_.requested() && !failed_) {
            try {
                supervise([&] {
                    backoff.reset();
                    said.clear();
                });
            } catch (const postgres::Error& e) {
                health_.set("apply", e.what());
                if (said != e.what()) {
                    spdlog::warn("apply: {}{}{}", e.what(), e.hint().empty() ? "" : ". ", e.hint());
                    if (e.sqlstate() == "3F000" || e.sqlstate() == "42883" ||
                        e.sqlstate() == "42P01")
                        spdlog::warn(
                            "apply: is the extension there? On the replica: CREATE EXTENSION "
                            "pg_cqrs");
                }
                said = e.what();
                stop_.wait_for(backoff.next());
            }
        }
        shut_down();
        return failed_ ? 1 : 0;
    }

  private:
    template <typename Success>
    void supervise(Success success) {
        auto opened = std::exchange(opened_, {});
        auto connection =
            opened ? std::move(*opened)
                   : postgres::Connection::open(settings_.replica_database_url, "cqrs apply");
        try {
            connection.query("SELECT cqrs.register_replica($1)", {settings_.replica});
        } catch (const postgres::Error& e) {
            if (e.sqlstate() != "55000" && e.sqlstate() != "22023") throw;
            spdlog::error("apply: {}{}{}", e.what(), e.hint().empty() ? "" : ". ", e.hint());
            failed_ = true;
            return;
        }
        connection.exec("LISTEN cqrs_subscription");
        using std::chrono::steady_clock;
        auto next_look = steady_clock::now();
        while (!stop_.requested()) {
            if (steady_clock::now() >= next_look) {
                look(connection);
                reports_.set(report_body(connection, settings_.replica));
                health_.set("apply", "");
                success();
                next_look = steady_clock::now() + std::chrono::seconds(1);
            }
            heartbeats_.arrived().drain();
            if (const auto heartbeat = heartbeats_.last())
                freshness_.record(connection, *heartbeat);
            const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                next_look - steady_clock::now());
            pollfd fds[] = {{connection.socket(), POLLIN, 0},
                            {stop_.fd(), POLLIN, 0},
                            {heartbeats_.arrived().fd(), POLLIN, 0}};
            poll(fds, 3, std::max(0, static_cast<int>(left.count()) + 1));
            std::string channel, payload;
            while (connection.notification(channel, payload)) next_look = steady_clock::now();
        }
    }

    void look(postgres::Connection& connection) {
        const auto rows = connection.exec(
            "SELECT s.topic, s.prefix, s.relation::oid, s.schema, s.notify, "
            "ss.prefix IS NULL OR ss.state <> 'live' OR ss.relation <> s.relation, "
            "(SELECT count(*) || ' ' || max(p.last_at) FROM cqrs.parked p "
            "WHERE p.prefix = s.prefix AND p.retry), s.on_error "
            "FROM cqrs.subscription s LEFT JOIN cqrs.subscription_state ss USING (prefix)");
        std::map<std::string, Topic> wanted;
        for (int i = 0; i < rows.rows(); ++i)
            wanted[std::string(rows.get(i, 0))].prefixes[std::string(rows.get(i, 1))] = {
                std::string(rows.get(i, 2)), std::string(rows.get(i, 3)),
                rows.get_bool(i, 4),         rows.get_bool(i, 5),
                std::string(rows.get(i, 6)), std::string(rows.get(i, 7))};
        const auto handlers = connection.exec(
            "SELECT topic, string_agg(concat_ws(' ', pattern, handler, backfill, "
            "registered_at), ',' ORDER BY registered_at, pattern, handler) FROM cqrs.handler "
            "GROUP BY topic");
        for (int i = 0; i < handlers.rows(); ++i)
            wanted[std::string(handlers.get(i, 0))].handlers = handlers.get(i, 1);

        const auto fences = connection.exec(
            "SELECT topic, lsn || ' ' || owner FROM cqrs.fence WHERE expires_at > "
            "clock_timestamp()");
        for (int i = 0; i < fences.rows(); ++i)
            if (const auto it = wanted.find(std::string(fences.get(i, 0))); it != wanted.end())
                it->second.fence = fences.get(i, 1);

        for (const auto& [topic, subscribed] : wanted) {
            auto& worker = workers_[topic];
            if (!worker) {
                spdlog::info("apply: topic {}", topic);
                worker = std::make_unique<Worker>(context_, topic);
            } else if (worth_waking(known_[topic], subscribed)) {
                worker->wake();
            }
        }
        for (auto it = workers_.begin(); it != workers_.end();) {
            if (wanted.contains(it->first)) {
                ++it;
                continue;
            }
            stop_workers({it->second.get()});
            orphans_.emplace(it->first, false);
            it = workers_.erase(it);
        }
        known_ = std::move(wanted);
        drop_orphans(connection);
        watch_progress(connection);
    }

    // Topics that nobody subscribes to any more, also those of which this process never heard.
    void drop_orphans(postgres::Connection& connection) {
        const auto rows = connection.exec(
            "SELECT topic FROM cqrs.position p WHERE NOT EXISTS "
            "(SELECT FROM cqrs.subscription s WHERE s.topic = p.topic) AND NOT EXISTS "
            "(SELECT FROM cqrs.handler h WHERE h.topic = p.topic)");
        for (int i = 0; i < rows.rows(); ++i) orphans_.emplace(rows.get(i, 0), false);
        for (auto it = orphans_.begin(); it != orphans_.end();) {
            const std::string topic = it->first;
            const std::string queue = broker::queue_name(settings_.replica, topic);
            try {
                auto broker =
                    broker::Connection::open(settings_.broker_url, settings_.broker_cacert,
                                             "cqrs apply " + settings_.replica);
                broker.delete_queue(queue);
            } catch (const broker::Error& e) {
                if (!std::exchange(it->second, true))
                    spdlog::warn(
                        "apply: {} is not subscribed any more, but queue {} cannot be deleted: {}",
                        topic, queue, e.what());
                ++it;  // tried again in a second
                continue;
            }
            if (!drop_origin(connection, topic)) {
                ++it;
                continue;
            }
            forget_topic(connection, topic);
            spdlog::info("apply: topic {} is not subscribed any more; queue {} deleted", topic,
                         queue);
            it = orphans_.erase(it);
        }
    }

    // Also of a worker that hangs in a statement: somebody may hold a lock on its table.
    void watch_progress(postgres::Connection& connection) {
        const auto heartbeat = heartbeats_.last();
        if (!heartbeat) return;
        const auto now = std::chrono::steady_clock::now();
        const auto rows = connection.exec(
            "SELECT topic, coalesce(epoch, 0), coalesce(greatest(sequence, received), -1) "
            "FROM cqrs.position");
        for (int i = 0; i < rows.rows(); ++i) {
            const std::string topic(rows.get(i, 0));
            const std::int64_t at = rows.get_int(i, 2);
            const std::int64_t last = heartbeat->topic(topic).sequence;
            const std::string part = "apply." + topic + ".progress";
            Progress& p = progress_[topic];
            if (p.at != at || last <= at || rows.get_int(i, 1) != heartbeat->epoch ||
                !workers_.contains(topic)) {
                p = {at, now};
                health_.remove(part);
            } else if (now - p.since > std::chrono::seconds(60)) {
                health_.set(
                    part,
                    fmt::format(
                        "at event {} for {} s while the primary is at {}: see "
                        "pg_stat_activity of the replica for what it waits for",
                        at, std::chrono::duration_cast<std::chrono::seconds>(now - p.since).count(),
                        last));
            }
        }
    }

    // All at once; what still runs after a moment is broken off.
    void stop_workers(const std::vector<Worker*>& workers) {
        for (Worker* w : workers) w->request_stop();
        for (Worker* w : workers) {
            for (int i = 0; !w->done(); ++i) {
                if (i >= 8 && i % 8 == 0) w->interrupt();
                pollfd none{-1, 0, 0};
                poll(&none, 1, 50);
            }
        }
    }

    void shut_down() {
        reports_.thread().request_stop();
        heartbeats_.thread().request_stop();  // its goodbye to the broker overlaps the workers'
        std::vector<Worker*> all;
        for (auto& [_, worker] : workers_) all.push_back(worker.get());
        stop_workers(all);
        workers_.clear();
        heartbeats_.thread().stop();
        reports_.thread().stop();
        health_.remove("apply");
    }

    const Settings& settings_;
    Stop& stop_;
    std::optional<postgres::Connection> opened_;  // for the first time
    Health& health_;
    Heartbeats heartbeats_;
    Freshness freshness_;
    Reports reports_;
    copy::Progress copies_;
    Context context_;
    std::map<std::string, std::unique_ptr<Worker>> workers_;
    std::map<std::string, Topic> known_;
    std::map<std::string, bool> orphans_;  // topic -> a failure to delete it was logged
    struct Progress {
        std::int64_t at = -1;
        std::chrono::steady_clock::time_point since;
    };
    std::map<std::string, Progress> progress_;
    bool failed_ = false;
};

}  // namespace

int run_apply(const Settings& settings, Stop& stop, Metrics& metrics, Health& health,
              std::optional<postgres::Connection> replica) {
    return Supervisor(settings, stop, metrics, health, std::move(replica)).run();
}

}  // namespace cqrs
