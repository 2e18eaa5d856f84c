#include "replica/remove.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <optional>
#include <set>

#include "admin/json.hpp"
#include "apply/replica.hpp"
#include "broker/names.hpp"
#include "broker/replica_queue.hpp"
#include "postgres/connection.hpp"

namespace cqrs {

namespace {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

void collect(Connection& connection, const std::string& sql, std::set<std::string>& topics) {
    const auto rows = connection.exec(sql);
    for (int i = 0; i < rows.rows(); ++i) topics.emplace(rows.get(i, 0));
}

// Its name, or nothing if the database is no replica.
void check_name(Connection& replica, const std::string& name) {
    const auto row = replica.exec("SELECT name FROM cqrs.replica_identity");
    if (row.rows() && row.get(0, 0) != name)
        throw Error(
            Remedy::stop, "",
            fmt::format("REPLICA_DATABASE_URL is the database of replica {}", row.get(0, 0)));
}

// Tables keep their rows; subscriptions of an extension's script are that extension's.
void clear(Connection& replica, std::set<std::string> topics) {
    topics.insert({"heartbeat", ".rebuild"});  // have an origin too; no topic is named so
    replica.exec("BEGIN");
    replica.exec("SELECT cqrs.unsubscribe(prefix) FROM cqrs.subscription WHERE NOT by_extension");
    replica.exec(
        "SELECT cqrs.off(pattern, handler::regprocedure) FROM cqrs.handler WHERE NOT by_extension");
    const auto staged = replica.exec("SELECT staging FROM cqrs.copy_state");
    for (int i = 0; i < staged.rows(); ++i)
        replica.exec("DROP TABLE IF EXISTS " + std::string(staged.get(i, 0)));
    replica.exec(
        "DELETE FROM cqrs.position; DELETE FROM cqrs.subscription_state; DELETE FROM cqrs.spool; "
        "DELETE FROM cqrs.copy_state; DELETE FROM cqrs.copy_progress; DELETE FROM "
        "cqrs.handler_state; DELETE FROM cqrs.heartbeat; DELETE FROM cqrs.fence; DELETE FROM "
        "cqrs.parked; DELETE FROM cqrs.incidents");
    replica.exec("SELECT cqrs.deregister_replica()");
    replica.commit();
    for (const std::string& topic : topics) apply::drop_origin(replica, topic);
}

// The relay does it too, when it hears of it. Its rights are the relay's.
void forget(Connection& primary, const std::string& name) {
    try {
        primary.query("DELETE FROM cqrs.replica WHERE name = $1", {name});
    } catch (const Error& e) {
        if (e.sqlstate() != "42501") throw;
        spdlog::info("cqrs.replica of the primary is left to the relay: {}", e.what());
    }
}

}  // namespace

int remove_replica(const Settings& settings) {
    try {
        std::set<std::string> topics;
        std::optional<Connection> replica, primary;
        if (!settings.replica_database_url.empty()) {
            replica = Connection::open(settings.replica_database_url, "cqrs remove-replica");
            check_name(*replica, settings.replica);
            collect(
                *replica,
                "SELECT topic FROM cqrs.position UNION SELECT topic FROM cqrs.subscription UNION "
                "SELECT topic FROM cqrs.handler",
                topics);
        }
        if (!settings.database_url.empty()) {
            primary = Connection::open(settings.database_url, "cqrs remove-replica");
            collect(*primary,
                    "SELECT split_part(prefix, '.', 1) FROM cqrs.published UNION SELECT "
                    "jsonb_object_keys(topics) FROM cqrs.relay_state",
                    topics);
        }
        if (topics.empty())
            spdlog::warn(
                "no topic is known: give DATABASE_URL or REPLICA_DATABASE_URL, or the queues of {} "
                "stay",
                settings.replica);
        auto broker = broker::Connection::open(settings.broker_url, settings.broker_cacert,
                                               "cqrs remove-replica " + settings.replica);
        std::set<std::string> queues;
        for (const std::string& topic : topics) {
            const std::string queue = broker::queue_name(settings.replica, topic);
            const auto info = broker::look_at_queue(broker, queue);
            if (info && info->consumers)
                throw Error(Remedy::stop, "", fmt::format("an applier consumes queue {}", queue),
                            "", fmt::format("Stop the appliers of {} first.", settings.replica));
            if (info) queues.insert(queue);
        }
        // What the relay has heard of it already comes before this: it stays forgotten.
        broker.declare_exchange(broker::report_exchange);
        broker::Properties properties;
        properties.content_type = "application/json";
        properties.persistent = false;
        JsonWriter json;
        json.begin_object()
            .member("replica", settings.replica)
            .member("removed", true)
            .end_object();
        broker.publish(broker::report_exchange, settings.replica, false, properties, json.str());
        for (const std::string& queue : queues) {
            broker.delete_queue(queue);
            spdlog::info("deleted queue {}", queue);
        }
        if (replica) clear(*replica, topics);
        if (primary) forget(*primary, settings.replica);
        spdlog::info("replica {} is removed{}", settings.replica,
                     replica ? ""
                             : "; its database was not given (REPLICA_DATABASE_URL) and still "
                               "believes to be a replica");
        return 0;
    } catch (const Error& e) {
        spdlog::error("remove-replica: {}{}{}", e.what(), e.hint().empty() ? "" : ". ", e.hint());
    } catch (const broker::Error& e) {
        spdlog::error("remove-replica: broker: {}", e.what());
    }
    return 1;
}

}  // namespace cqrs
