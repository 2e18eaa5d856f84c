#include "setting.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "broker/url.hpp"

namespace cqrs {
namespace {

constexpr unsigned relay = mask(Command::relay), apply = mask(Command::apply),
                   run = mask(Command::run), status = mask(Command::status),
                   tail = mask(Command::tail), doctor = mask(Command::doctor),
                   verify = mask(Command::verify), rebuild = mask(Command::rebuild),
                   add = mask(Command::add_replica), remove = mask(Command::remove_replica);
constexpr unsigned all = relay | apply | run | status | tail | doctor | add | remove;
constexpr std::size_t kB = 1024, MB = 1024 * 1024;

// "64kB" with units {kB, 1024}: digits, then one of the units or nothing.
struct Unit {
    std::string_view name;
    std::size_t factor;
};
std::optional<std::size_t> parse_number(std::string_view text, const std::vector<Unit>& units) {
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end == text.data()) return std::nullopt;
    std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    while (unit.starts_with(' ')) unit.remove_prefix(1);
    if (unit.empty()) return number;
    for (const auto& [name, factor] : units) {
        if (unit != name) continue;
        if (number > std::numeric_limits<std::size_t>::max() / factor) return std::nullopt;
        return number * factor;
    }
    return std::nullopt;
}

template <class T>
auto number(T Settings::*member, std::size_t least, std::size_t most) {
    return [=](const std::string& text, Settings& settings) -> std::string {
        const auto n = parse_number(text, {});
        if (!n || *n < least || *n > most) return fmt::format("a number, {} to {}", least, most);
        settings.*member = static_cast<T>(*n);
        return {};
    };
}

auto size(std::size_t Settings::*member, std::size_t least, std::size_t most) {
    return [=](const std::string& text, Settings& settings) -> std::string {
        const auto n = parse_number(text, {{"B", 1}, {"kB", kB}, {"MB", MB}, {"GB", 1024 * MB}});
        if (!n || *n < least || *n > most) {
            return fmt::format("a size in bytes or with kB, MB, GB, {} to {} bytes", least, most);
        }
        settings.*member = *n;
        return {};
    };
}

// A switch: sets the member to `on` if the text is true, to !on if it is false.
auto flag(bool Settings::*member, bool on = true) {
    return [=](const std::string& text, Settings& settings) -> std::string {
        if (text == "true" || text == "1" || text == "on" || text == "yes") {
            settings.*member = on;
        } else if (text == "false" || text == "0" || text == "off" || text == "no") {
            settings.*member = !on;
        } else {
            return "true or false";
        }
        return {};
    };
}

auto database(std::string Settings::*member) {
    return [=](const std::string& text, Settings& settings) -> std::string {
        static const std::string expected =
            "postgresql://user:password@host:port/database or \"host=... dbname=...\"";
        char* message = nullptr;
        const std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)> options(
            PQconninfoParse(text.c_str(), &message), PQconninfoFree);
        const std::unique_ptr<char, void (*)(char*)> owner(message, [](char* p) { PQfreemem(p); });
        // libpq's message may repeat a part of the text, and with it the password: not shown.
        if (!options || text.empty()) return expected;
        for (const PQconninfoOption* o = options.get(); o->keyword != nullptr; ++o) {
            if (o->val != nullptr && std::string_view(o->keyword) == "replication") {
                return expected + ", without replication=";
            }
        }
        settings.*member = text;
        return {};
    };
}

std::string store_broker(const std::string& text, Settings& settings) {
    try {
        broker::parse_urls(text);
    } catch (const std::invalid_argument&) {
        // Its text may repeat a part of the URL, and with it of the password: not shown.
        return "amqp://user:password@host:port/vhost or amqps://..., several separated by commas, "
               "special characters percent-encoded, no parameter but ?heartbeat=SECONDS";
    }
    settings.broker_url = text;
    return {};
}

bool made_of(std::string_view text, std::string_view others, bool upper) {
    return std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               (upper && c >= 'A' && c <= 'Z') || others.find(c) != std::string_view::npos;
    });
}

std::string store_slot(const std::string& text, Settings& settings) {
    if (text.empty() || text.size() > 63 || !made_of(text, "_", false)) {
        return "1 to 63 of the characters a-z 0-9 _";
    }
    settings.slot = text;
    return {};
}

std::string store_replica(const std::string& text, Settings& settings) {
    if (text.empty() || text.size() > 63 || !made_of(text, "_-", true)) {
        return "1 to 63 of the characters A-Z a-z 0-9 _ -";
    }
    settings.replica = text;
    return {};
}

std::string store_topics(const std::string& text, Settings& settings) {
    std::vector<std::string> topics;
    for (std::size_t from = 0, to = 0; to != std::string::npos; from = to + 1) {
        to = text.find(',', from);
        topics.push_back(text.substr(from, to == std::string::npos ? to : to - from));
        if (topics.back().empty() || !made_of(topics.back(), "_-", true))
            return "topics, the first words of prefixes, separated by commas";
    }
    settings.topics = std::move(topics);
    return {};
}

std::string store_listen(const std::string& text, Settings& settings) {
    try {
        settings.listen = parse_listen(text) ? text : "";
    } catch (const ConfigError& e) {
        return e.what();
    }
    return {};
}

std::string store_heartbeat(const std::string& text, Settings& settings) {
    const auto ms = parse_number(text, {{"ms", 1}, {"s", 1000}, {"min", 60000}});
    if (!ms || *ms < 100 || *ms > 600000) {
        return "a time in ms or with the unit ms, s or min, 100ms to 10min";
    }
    settings.heartbeat = std::chrono::milliseconds(*ms);
    return {};
}

std::string store_from(const std::string& text, Settings& settings) {
    settings.from = history::parse_from(text);
    if (settings.from) return {};
    return "the number of an event, a time such as 2026-11-25T04:30:00Z, or oldest";
}

std::string store_handler(const std::string& text, Settings& settings) {
    if (text.empty()) return "a function: 'parking_occupancy_handler(jsonb[])'";
    settings.handler = text;
    return {};
}

std::string store_source(const std::string& text, Settings& settings) {
    if (text != "history" && text != "snapshot") return "history or snapshot";
    settings.source = text;
    return {};
}

std::string store_log_level(const std::string& text, Settings& settings) {
    static const std::vector<std::string_view> levels = {"trace", "debug", "info", "warn", "error"};
    if (std::find(levels.begin(), levels.end(), text) == levels.end()) {
        return "trace, debug, info, warn or error";
    }
    settings.log_level = text;
    return {};
}

std::string store_compress(const std::string& text, Settings& settings) {
    if (text != "none" && text != "lz4") return "none or lz4";
    settings.compress = text == "lz4";
    return {};
}

std::string store_cacert(const std::string& text, Settings& settings) {
    settings.broker_cacert = text;
    return {};
}

}  // namespace

std::optional<Endpoint> parse_listen(const std::string& text) {
    if (text.empty() || text == "none") return std::nullopt;
    static const char* expected = "HOST:PORT, [IPv6]:PORT, or none";
    const auto colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0) throw ConfigError(expected);
    Endpoint endpoint{text.substr(0, colon), 0};
    const auto port = parse_number(text.substr(colon + 1), {});
    if (!port || *port > 65535) throw ConfigError(expected);
    endpoint.port = static_cast<int>(*port);
    if (endpoint.host.starts_with('[') && endpoint.host.ends_with(']')) {
        endpoint.host = endpoint.host.substr(1, endpoint.host.size() - 2);
    } else if (endpoint.host.find(':') != std::string::npos) {
        throw ConfigError(expected);
    }
    if (endpoint.host.empty()) throw ConfigError(expected);
    return endpoint;
}

const std::vector<Setting>& all_settings() {
    using S = Settings;
    static const std::vector<Setting> settings = {
        {"database-url", "DATABASE_URL", "URL",
         "the primary, as libpq takes it (relay, run: required; apply: for initial copies and "
         "resynchronisation)",
         "", relay | apply | run | status | doctor | verify | rebuild | add | remove,
         relay | run | verify | rebuild | add, true, database(&S::database_url)},
        {"replica-database-url", "REPLICA_DATABASE_URL", "URL",
         "the replica, as libpq takes it (apply, run: required)", "",
         apply | run | status | doctor | verify | rebuild | add | remove,
         apply | run | verify | rebuild | add, true, database(&S::replica_database_url)},
        {"broker-url", "RABBITMQ_BROKER_URL", "URL[,URL...]",
         "RabbitMQ, amqp:// or amqps://; several are tried in turn", "", all | rebuild,
         relay | apply | run | tail | rebuild | add | remove, true, store_broker},
        {"broker-cacert", "RABBITMQ_CACERT", "FILE", "certificate authorities (PEM) for amqps://",
         "the system's", all | rebuild, 0, false, store_cacert},
        {"listen", "CQRS_LISTEN", "HOST:PORT",
         "where /health, /metrics and the page are served; none: nowhere", "0.0.0.0:8000",
         relay | apply | run, 0, false, store_listen},
        {"slot", "CQRS_SLOT", "NAME",
         "replication slot of the relay, which makes it if it is not there", "cqrs",
         relay | apply | run | status | doctor | rebuild | add, 0, false, store_slot},
        {"name", "CQRS_NAME", "NAME",
         "the replica's name, part of its queues' names: one for each replica", "replica",
         apply | run | status | doctor | add | remove, 0, false, store_replica},
        {"topics", "CQRS_TOPICS", "A,B",
         "these topics; add-replica: by default all that are published", "", apply | rebuild | add,
         0, false, store_topics},
        {"create-tables", "CQRS_CREATE_TABLES", "",
         "make the tables that the replica lacks from the primary's definition", "", apply | add, 0,
         false, flag(&S::create_tables)},
        {"jobs", "CQRS_JOBS", "N", "tables, or parts of large ones, that are copied at once", "2",
         apply | add, 0, false, number(&S::jobs, 1, 64)},
        {"init", "CQRS_INIT", "", "do what add-replica does first", "", apply, 0, false,
         flag(&S::init)},
        {"batch-bytes", "CQRS_BATCH_BYTES", "SIZE", "a message is closed at this size", "256kB",
         relay | run, 0, false, size(&S::batch_bytes, kB, 16 * MB)},
        {"max-batch", "CQRS_MAX_BATCH", "N",
         "events in a message at most; 1: every event its own message; 0: no limit", "0",
         relay | run, 0, false, number(&S::max_batch, 0, 1'000'000)},
        {"max-message-bytes", "CQRS_MAX_MESSAGE_BYTES", "SIZE",
         "a larger event is replaced by a stop event that names it (RabbitMQ 4 takes 16 MB)",
         "15MB", relay | run, 0, false, size(&S::max_message_bytes, 128 * kB, 512 * MB)},
        {"compress", "CQRS_COMPRESS", "none|lz4",
         "bodies above 1 kB as LZ4 frames (content-encoding lz4): every consumer must take them",
         "none", relay | run, 0, false, store_compress},
        {"heartbeat", "CQRS_HEARTBEAT", "TIME",
         "how often progress is told to replicas and recorded on the primary", "1s", relay | run, 0,
         false, store_heartbeat},
        {"all-origins", "CQRS_ALL_ORIGINS", "",
         "also relay changes that came to the primary by replication", "", relay | run, 0, false,
         flag(&S::all_origins)},
        {"prefetch", "CQRS_PREFETCH", "N", "unacknowledged messages per topic", "256",
         apply | run | add, 0, false, number(&S::prefetch, 1, 65535)},
        {"apply-batch", "CQRS_APPLY_BATCH", "N",
         "events written in one transaction of the replica, about", "30000", apply | run | add, 0,
         false, number(&S::apply_batch, 1, 1'000'000)},
        {"apply-jobs", "CQRS_APPLY_JOBS", "N",
         "such transactions that a topic which is behind writes at once, each over a connection of "
         "its own",
         "2", apply | run | add, 0, false, number(&S::apply_jobs, 1, 16)},
        {"memory", "CQRS_MEMORY", "SIZE",
         "what a transaction may hold per topic before it goes to a spool table on the replica",
         "64MB", apply | run | add, 0, false, size(&S::memory, MB, 64 * 1024 * MB)},
        {"no-auto-resync", "CQRS_NO_AUTO_RESYNC", "",
         "after a gap stop the topic instead of copying its tables again", "", apply | run, 0,
         false, flag(&S::auto_resync, false)},
        {"json", "", "", "print JSON", "", status, 0, false, flag(&S::json)},
        {"repair", "", "", "write what differs as the primary has it", "", verify, 0, false,
         flag(&S::repair)},
        {"handler", "", "FUNCTION", "the handler (cqrs.on) whose read model is built anew", "",
         rebuild, 0, false, store_handler},
        {"source", "", "history|snapshot",
         "what handlers are given; by default the history if it is whole, else the primary's rows",
         "", rebuild, 0, false, store_source},
        {"from", "", "SEQUENCE|TIME|oldest",
         "begin with what was kept (cqrs.retain) from there on, then go on live", "", tail, 0,
         false, store_from},
        {"count", "", "N", "end after so many events", "", tail, 0, false,
         number(&S::count, 1, 1'000'000'000)},
        {"log-level", "CQRS_LOG_LEVEL", "LEVEL", "trace, debug, info, warn or error", "info",
         all | verify | rebuild, 0, false, store_log_level},
    };
    return settings;
}

}  // namespace cqrs
