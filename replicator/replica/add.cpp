#include "replica/add.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <thread>

#include "apply/apply.hpp"
#include "apply/replica.hpp"
#include "broker/names.hpp"
#include "broker/replica_queue.hpp"
#include "copy/beside.hpp"

namespace cqrs {

namespace {

using namespace std::chrono_literals;
using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

struct Published {
    std::string topic, prefix, relation;  // qualified and quoted
};

Connection open(const std::string& url, const char* side) {
    try {
        Connection connection = Connection::open(url, "cqrs add-replica");
        if (connection.exec("SELECT FROM pg_extension WHERE extname = 'pg_cqrs'").rows() == 0)
            throw Error(Remedy::stop, "3F000", "extension pg_cqrs is missing", "",
                        "CREATE EXTENSION pg_cqrs;");
        return connection;
    } catch (const Error& e) {
        throw Error(e.remedy(), e.sqlstate(), fmt::format("{}: {}", side, e.what()), e.detail(),
                    e.hint());
    }
}

std::vector<Published> published(Connection& primary, const std::vector<std::string>& topics) {
    const auto rows = primary.exec(
        "SELECT split_part(prefix, '.', 1), prefix, relation::text FROM cqrs.published "
        "ORDER BY prefix");
    std::vector<Published> out;
    std::set<std::string> known;
    for (int i = 0; i < rows.rows(); ++i) {
        Published p{std::string(rows.get(i, 0)), std::string(rows.get(i, 1)),
                    std::string(rows.get(i, 2))};
        known.insert(p.topic);
        if (topics.empty() || std::find(topics.begin(), topics.end(), p.topic) != topics.end())
            out.push_back(std::move(p));
    }
    for (const std::string& topic : topics)
        if (!known.contains(topic))
            throw Error(Remedy::stop, "", fmt::format("the primary publishes no topic {}", topic),
                        "", fmt::format("It has: {}", fmt::join(known, ", ")));
    if (out.empty())
        throw Error(Remedy::stop, "", "the primary publishes no table", "",
                    "There: SELECT cqrs.publish('orders', 'order');");
    return out;
}

void refuse_primary_itself(Connection& primary, Connection& replica) {
    // Not granted to every role: then nothing is known, and nothing refused.
    const auto identity = [](Connection& c) -> std::string {
        try {
            const auto row = c.exec(
                "SELECT s.system_identifier::text || ' ' || d.oid FROM pg_control_system() s, "
                "pg_database d WHERE d.datname = current_database()");
            return std::string(row.get(0, 0));
        } catch (const Error&) {
            return {};
        }
    };
    const std::string id = identity(primary);
    if (!id.empty() && id == identity(replica))
        throw Error(Remedy::stop, "", "the replica's database is the primary's own", "",
                    "REPLICA_DATABASE_URL names another database.");
}

// The topics whose queues were there before.
std::set<std::string> bind_queues(const Settings& settings, const std::set<std::string>& topics) {
    auto broker = broker::Connection::open(settings.broker_url, settings.broker_cacert,
                                           "cqrs add-replica " + settings.replica);
    broker.declare_exchanges();
    std::set<std::string> before;
    for (const std::string& topic : topics) {
        const std::string queue = broker::queue_name(settings.replica, topic);
        if (broker::look_at_queue(broker, queue)) before.insert(topic);
        broker::bind_replica_queue(broker, queue, topic);
    }
    return before;
}

bool exists(Connection& replica, const std::string& relation) {
    return !replica.query("SELECT to_regclass($1)", {relation}).is_null(0, 0);
}

bool subscribed(Connection& replica, const std::string& prefix) {
    return replica.query("SELECT FROM cqrs.subscription WHERE prefix = $1", {prefix}).rows() > 0;
}

std::string array(const std::vector<std::string>& prefixes) {
    return fmt::format("{{{}}}", fmt::join(prefixes, ","));  // their characters need no quoting
}

// What stands between the prefixes and being live: "" when nothing does; stopped: it will not pass
// by itself.
std::string pending(Connection& replica, const std::vector<std::string>& prefixes, bool& stopped) {
    const auto row = replica.query(
        "SELECT string_agg(s.prefix, ', ' ORDER BY s.prefix), "
        "max(p.topic || ': ' || p.error) FILTER (WHERE p.state = 'stopped') "
        "FROM cqrs.subscription s "
        "LEFT JOIN cqrs.subscription_state ss ON ss.prefix = s.prefix AND ss.relation = s.relation "
        "LEFT JOIN cqrs.position p ON p.topic = s.topic "
        "WHERE s.prefix = ANY ($1) AND (ss.state = 'live' AND p.state = 'live' AND p.sequence IS "
        "NOT NULL) IS NOT TRUE",
        {array(prefixes)});
    stopped = !row.is_null(0, 1);
    return std::string(row.get(0, stopped ? 1 : 0));
}

int wait_until_live(const Settings& settings, const std::vector<std::string>& prefixes,
                    const Stop& stop, const Stop& ended) {
    auto replica = Connection::open(settings.replica_database_url, "cqrs add-replica");
    const auto begun = std::chrono::steady_clock::now();
    bool said = false;
    while (!stop.requested() && !ended.requested()) {
        bool stopped = false;
        const std::string what = pending(replica, prefixes, stopped);
        if (what.empty()) {
            return 0;
        }
        // At first it may be what stopped an applier before us.
        if (stopped && std::chrono::steady_clock::now() - begun > 10s) {
            spdlog::error("replica {}: topic {}", settings.replica, what);
            return 1;
        }
        if (!said && std::chrono::steady_clock::now() - begun > 15s) {
            said = true;
            spdlog::info("still to become live: {}. Is the relay running?", what);
        }
        stop.wait_for(100ms);
    }
    return 1;
}

// The applier copies what existed and meets the stream; ours ends when that is done. Another one
// may be at it already.
int apply_until_live(const Settings& settings, const std::vector<std::string>& prefixes,
                     const Stop& stop, Metrics& metrics, Health& health) {
    Stop enough, ended;
    int applied = 0;
    std::thread applier([&] {
        try {
            applied = run_apply(settings, enough, metrics, health);
        } catch (const std::exception& e) {
            spdlog::error("add-replica: {}", e.what());
            applied = 1;
        }
        ended.request();
    });
    int status = 1;
    try {
        status = wait_until_live(settings, prefixes, stop, ended);
    } catch (const Error& e) {
        spdlog::error("add-replica: {}", e.what());
    }
    enough.request();
    applier.join();
    return status ? status : applied;
}

}  // namespace

std::vector<std::string> prepare_replica(const Settings& settings, const Stop& stop,
                                         Metrics& metrics) {
    Connection primary = open(settings.database_url, "primary");
    Connection replica = open(settings.replica_database_url, "replica");
    refuse_primary_itself(primary, replica);
    const auto wanted = published(primary, settings.topics);
    std::set<std::string> topics;
    std::vector<std::string> prefixes;
    for (const Published& p : wanted) topics.insert(p.topic), prefixes.push_back(p.prefix);

    std::vector<copy::Missing> missing;
    std::vector<std::string> names;
    for (const Published& p : wanted) {
        if (subscribed(replica, p.prefix) || exists(replica, p.relation)) continue;
        missing.push_back({p.topic, p.prefix, p.relation});
        names.push_back(p.relation);
    }
    if (!missing.empty() && !settings.create_tables)
        throw Error(
            Remedy::stop, "42P01",
            fmt::format("the replica lacks tables of the primary: {}", fmt::join(names, ", ")), "",
            "Create them there, or give --create-tables.");

    // From here on what is committed waits in the queues.
    const auto before = bind_queues(settings, topics);
    replica.query("SELECT cqrs.register_replica($1)", {settings.replica});
    if (!missing.empty()) {
        copy::Progress progress(settings, metrics, settings.bar);
        copy::copy_beside(settings, missing, before, progress, stop);
    }
    for (const Published& p : wanted)
        if (!subscribed(replica, p.prefix))
            replica.query("SELECT cqrs.subscribe($1, $2::regclass)", {p.prefix, p.relation});
    return prefixes;
}

namespace {

void complain(const Error& e) {
    spdlog::error("add-replica: {}{}{}{}{}", e.what(), e.detail().empty() ? "" : ". ", e.detail(),
                  e.hint().empty() ? "" : ". ", e.hint());
}

// A bar and lines of a log do not share a terminal.
class QuietTerminal {
  public:
    explicit QuietTerminal(bool bar) : level_(spdlog::get_level()) {
        if (bar) spdlog::set_level(std::max(level_, spdlog::level::warn));
    }
    ~QuietTerminal() { spdlog::set_level(level_); }
    QuietTerminal(const QuietTerminal&) = delete;
    QuietTerminal& operator=(const QuietTerminal&) = delete;

  private:
    const spdlog::level::level_enum level_;
};

}  // namespace

bool init_replica(const Settings& settings, const Stop& stop, Metrics& metrics) {
    Backoff backoff;
    while (!stop.requested()) {
        std::string what;
        try {
            prepare_replica(settings, stop, metrics);
            return true;
        } catch (const Error& e) {
            if (e.remedy() == Remedy::stop) {
                complain(e);
                return false;
            }
            what = e.what();
        } catch (const broker::Error& e) {
            what = std::string("broker: ") + e.what();
        }
        if (stop.requested()) break;
        spdlog::warn("apply: --init: {}; trying again", what);
        stop.wait_for(backoff.next());
    }
    return false;
}

int add_replica(Settings settings, Stop& stop, Metrics& metrics, Health& health) {
    settings.bar = isatty(STDERR_FILENO) != 0;
    std::vector<std::string> prefixes;
    int status = 1;
    {
        const QuietTerminal quiet(settings.bar);
        try {
            prefixes = prepare_replica(settings, stop, metrics);
            status = apply_until_live(settings, prefixes, stop, metrics, health);
        } catch (const Error& e) {
            complain(e);
        } catch (const broker::Error& e) {
            spdlog::error("add-replica: broker: {}", e.what());
        }
    }
    if (status == 0)
        spdlog::info("replica {} is live: {}", settings.replica, fmt::join(prefixes, ", "));
    return status;
}

}  // namespace cqrs
