#include "apply/heartbeat.hpp"

#include <poll.h>
#include <simdjson.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>

#include "broker/connection.hpp"
#include "broker/names.hpp"
#include "postgres/connection.hpp"

namespace cqrs::apply {

namespace {

// As the relay writes it: 2026-11-25T08:00:00.000000Z.
bool is_time(std::string_view text) {
    constexpr std::string_view form = "0000-00-00T00:00:00.000000Z";
    return std::equal(text.begin(), text.end(), form.begin(), form.end(),
                      [](char c, char f) { return f == '0' ? c >= '0' && c <= '9' : c == f; });
}

bool is_topic(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_';
    });
}

}  // namespace

// Anybody who may publish to the exchange may have written it.
std::optional<Heartbeat> parse_heartbeat(std::string_view body) {
    namespace dom = simdjson::dom;
    try {
        dom::parser parser(1 << 20);
        const dom::element root = parser.parse(simdjson::padded_string(body));
        Heartbeat h;
        h.source = std::string(std::string_view(root["source"]));
        h.epoch = std::int64_t(root["epoch"]);
        h.lsn = postgres::parse_lsn(std::string_view(root["lsn"]));
        h.time = std::string(std::string_view(root["time"]));
        if (!is_time(h.time)) return std::nullopt;
        for (const auto& [name, topic] : dom::object(root["topics"])) {
            if (!is_topic(name)) return std::nullopt;
            Heartbeat::Topic t;
            t.sequence = std::int64_t(topic["sequence"]);
            t.lsn = postgres::parse_lsn(std::string_view(topic["lsn"]));
            h.topics.emplace(std::string(name), t);
        }
        return h;
    } catch (const simdjson::simdjson_error&) {
        return std::nullopt;
    } catch (const std::invalid_argument&) {
        return std::nullopt;
    }
}

Heartbeats::Heartbeats(const Settings& settings)
    : settings_(settings), thread_("heartbeats", [this] { consume(); }) {}

std::shared_ptr<const Heartbeat> Heartbeats::last() const {
    const std::lock_guard lock(mutex_);
    return last_;
}

void Heartbeats::consume() {
    auto connection = broker::Connection::open(settings_.broker_url, settings_.broker_cacert,
                                               "cqrs apply " + settings_.replica + " heartbeat");
    broker::QueueOptions options;
    options.durable = false;
    options.exclusive = options.auto_delete = true;
    options.arguments = {{"x-max-length", std::int64_t{8}},
                         {"x-queue-type", std::string("classic")}};
    std::string queue = broker::heartbeat_queue_name(settings_.replica);
    connection.declare_exchanges();
    try {
        connection.declare_queue(queue, options);
    } catch (const broker::Error& e) {
        if (e.code() != 405) throw;  // a standby of the same replica has it
        queue += "." + std::to_string(std::random_device{}());
        connection.declare_queue(queue, options);
    }
    connection.bind_queue(queue, broker::heartbeat_exchange, broker::heartbeat_key);
    connection.consume(queue, 8, true);
    const Stop& stop = thread_.stop_requested();
    thread_.well();
    while (!stop.requested()) {
        const auto event = connection.next(std::chrono::milliseconds(0));
        if (!event) {
            pollfd fds[] = {{connection.socket(), POLLIN, 0}, {stop.fd(), POLLIN, 0}};
            if (!connection.buffered()) poll(fds, 2, 1000);
            continue;
        }
        if (std::holds_alternative<broker::Cancelled>(*event))
            throw broker::Error(0, "the heartbeat queue was deleted");
        const auto* delivery = std::get_if<broker::Delivery>(&*event);
        if (!delivery) continue;
        auto heartbeat = parse_heartbeat(delivery->body);
        if (!heartbeat) continue;
        heartbeat->received = std::chrono::steady_clock::now();
        {
            const std::lock_guard lock(mutex_);
            heartbeat->number = ++count_;
            last_ = std::make_shared<const Heartbeat>(std::move(*heartbeat));
        }
        arrived_.signal();
    }
    connection.close();
}

}  // namespace cqrs::apply
