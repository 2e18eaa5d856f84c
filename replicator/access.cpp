#include "access.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <future>
#include <string_view>
#include <vector>

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
void look(const char* setting, Open&& open) {
    try {
        open();
    } catch (const Failure& e) {
        if (refused(e)) throw ConfigError(fmt::format("{}: {}", setting, e.what()));
        spdlog::debug("{}: {}", setting, e.what());  // whoever needs it says so
    }
}

void look_at_database(const std::string& url, const char* setting, const Stop& stop) {
    if (url.empty() || stop.requested()) return;
    look<postgres::Error>(
        setting, [&] { postgres::Connection::open(url, "cqrs-replicator", false, limit, &stop); });
}

}  // namespace

// All at once: each costs a few round trips and a password's hash.
void check_access(Command command, const Settings& settings, const Stop& stop) {
    const auto database = [&](const std::string& url, const char* setting) {
        return std::async(std::launch::async,
                          [&stop, url, setting] { look_at_database(url, setting, stop); });
    };
    std::vector<std::future<void>> looks;
    looks.push_back(database(settings.database_url, "--database-url (DATABASE_URL)"));
    if (command != Command::relay)
        looks.push_back(database(settings.replica_database_url,
                                 "--replica-database-url (REPLICA_DATABASE_URL)"));
    look<broker::Error>("--broker-url (RABBITMQ_BROKER_URL)", [&] {
        broker::Connection::open(settings.broker_url, settings.broker_cacert, "cqrs-replicator",
                                 limit);
    });
    for (auto& each : looks) each.get();
}

}  // namespace cqrs
