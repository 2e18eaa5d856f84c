#include "access.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <future>
#include <string_view>

#include "broker/connection.hpp"
#include "postgres/connection.hpp"

namespace cqrs {
namespace {

// A server that hangs is left to those who need it: they try again.
constexpr std::chrono::seconds limit(3);

// Role or password, database, CONNECT or REPLICATION.
bool refused(const postgres::Error& e) {
    return e.sqlstate().starts_with("28") || e.sqlstate() == "3D000" || e.sqlstate() == "42501";
}

// 403: user or password; 530: the virtual host, or that it, the user or the node has as many
// connections as it may have, which passes.
bool refused(const broker::Error& e) {
    return e.code() == 403 || (e.code() == 530 && std::string_view(e.what()).find(" limit (") ==
                                                      std::string_view::npos);
}

template <class Failure, class Open>
auto look(const char* setting, Open&& open) -> std::optional<decltype(open())> {
    try {
        return open();
    } catch (const Failure& e) {
        if (refused(e)) throw ConfigError(fmt::format("{}: {}", setting, e.what()));
        spdlog::debug("{}: {}", setting, e.what());  // whoever needs it says so
    }
    return std::nullopt;
}

using Look = std::future<std::optional<postgres::Connection>>;

Look look_at(const std::string& url, const char* setting, const char* name, const Stop& stop) {
    return std::async(std::launch::async, [&stop, url, setting, name]() {
        if (url.empty() || stop.requested()) return std::optional<postgres::Connection>();
        return look<postgres::Error>(
            setting, [&] { return postgres::Connection::open(url, name, false, limit, &stop); });
    });
}

// Without the right to one, the relay says what is missing.
Look open_walsender(const std::string& url, const Stop& stop) {
    return std::async(std::launch::async, [&stop, url]() -> std::optional<postgres::Connection> {
        try {
            return postgres::Connection::open(url, "cqrs relay", true, limit, &stop);
        } catch (const postgres::Error& e) {
            spdlog::debug("relay: {}", e.what());
            return std::nullopt;
        }
    });
}

}  // namespace

// All at once: each costs a few round trips and a password's hash.
Opened check_access(Command command, const Settings& settings, const Stop& stop) {
    const bool relays = command != Command::apply, applies = command != Command::relay;
    Look primary = look_at(settings.database_url, "--database-url (DATABASE_URL)",
                           relays ? "cqrs relay" : "cqrs-replicator", stop);
    Look walsender, replica;
    if (relays) walsender = open_walsender(settings.database_url, stop);
    if (applies)
        replica = look_at(settings.replica_database_url,
                          "--replica-database-url (REPLICA_DATABASE_URL)", "cqrs apply", stop);
    look<broker::Error>("--broker-url (RABBITMQ_BROKER_URL)", [&] {
        return broker::Connection::open(settings.broker_url, settings.broker_cacert,
                                        "cqrs-replicator", limit);
    });
    Opened opened;
    opened.primary = primary.get();
    if (!relays) opened.primary.reset();
    if (relays) opened.walsender = walsender.get();
    if (applies) opened.replica = replica.get();
    return opened;
}

}  // namespace cqrs
