#include "admin/http.hpp"

#include <fmt/format.h>
#include <httplib.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "admin/json.hpp"
#include "admin/page.hpp"

namespace cqrs {
namespace {

struct Verdict {
    bool ok = false;
    std::string message;
};

// Healthy once every part that has reported says so; nobody has reported yet while starting.
Verdict judge(const std::map<std::string, std::string>& parts) {
    if (parts.empty()) return {false, "starting: no part has reported yet"};
    Verdict verdict{true, {}};
    for (const auto& [part, reason] : parts) {
        if (reason.empty()) continue;
        verdict.ok = false;
        if (!verdict.message.empty()) verdict.message += "; ";
        verdict.message += part + ": " + reason;
    }
    if (verdict.ok) verdict.message = "positions move, or there is nothing to move";
    return verdict;
}

void write_health(JsonWriter& json, const Verdict& verdict,
                  const std::map<std::string, std::string>& parts) {
    json.member("status", verdict.ok ? "ok" : "unhealthy").member("message", verdict.message);
    json.key("parts").begin_object();
    for (const auto& [part, reason] : parts) json.member(part, reason);
    json.end_object();
}

void write_metrics(JsonWriter& json, const Metrics& metrics) {
    json.key("metrics").begin_array();
    for (const auto& family : metrics.collect()) {
        const bool counter = family.type == prometheus::MetricType::Counter;
        if (!counter && family.type != prometheus::MetricType::Gauge) continue;
        for (const auto& metric : family.metric) {
            json.begin_object().member("name", family.name);
            json.member("type", counter ? "counter" : "gauge").key("labels").begin_object();
            for (const auto& label : metric.label) json.member(label.name, label.value);
            json.end_object();
            json.member("value", counter ? metric.counter.value : metric.gauge.value);
            json.end_object();
        }
    }
    json.end_array();
}

void write_notes(JsonWriter& json, const Health& health) {
    json.key("notes").begin_object();
    for (const auto& [key, value] : health.notes()) json.member(key, value);
    json.end_object();
}

}  // namespace

struct AdminHttp::State {
    httplib::Server server;
    std::thread thread;
    int port = 0;
    const Metrics* metrics;
    const Health* health;

    State(const Metrics& m, const Health& h) : metrics(&m), health(&h) {}

    void routes();
    void limits();
};

void AdminHttp::State::routes() {
    server.set_default_headers(
        {{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}});
    server.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
        const auto parts = health->snapshot();
        const auto verdict = judge(parts);
        JsonWriter json;
        json.begin_object();
        write_health(json, verdict, parts);
        write_notes(json, *health);
        json.end_object();
        response.status = verdict.ok ? 200 : 503;
        response.set_content(json.str() + "\n", "application/json");
    });
    server.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
        response.set_content(metrics->expose(), "text/plain; version=0.0.4; charset=utf-8");
    });
    server.Get("/status.json", [this](const httplib::Request&, httplib::Response& response) {
        const auto parts = health->snapshot();
        JsonWriter json;
        json.begin_object();
        write_health(json, judge(parts), parts);
        write_notes(json, *health);
        write_metrics(json, *metrics);
        json.end_object();
        response.set_content(json.str() + "\n", "application/json");
    });
    server.Get("/", [](const httplib::Request&, httplib::Response& response) {
        const auto page = admin_page();
        response.set_content(page.data(), page.size(), "text/html; charset=utf-8");
    });
}

void AdminHttp::State::limits() {
    // One request a connection and short waits: stop() must not wait for an idle client.
    server.set_keep_alive_max_count(1);
    server.set_keep_alive_timeout(1);
    server.set_read_timeout(std::chrono::milliseconds(900));
    server.set_write_timeout(std::chrono::milliseconds(900));
    server.set_payload_max_length(4096);
    server.new_task_queue = [] { return new httplib::ThreadPool(4); };
    // httplib's default is SO_REUSEPORT: a second replicator would share the port unnoticed.
    server.set_socket_options([](auto socket) {
        const int yes = 1;
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
}

AdminHttp::AdminHttp(const Settings& settings, const Metrics& metrics, const Health& health)
    : state_(std::make_unique<State>(metrics, health)) {
    const auto endpoint = parse_listen(settings.listen);
    if (!endpoint) return;
    state_->routes();
    state_->limits();
    errno = 0;
    if (endpoint->port == 0) {
        state_->port = state_->server.bind_to_any_port(endpoint->host);
    } else if (state_->server.bind_to_port(endpoint->host, endpoint->port)) {
        state_->port = endpoint->port;
    }
    if (state_->port <= 0) {
        throw ConfigError(fmt::format(
            "--listen (CQRS_LISTEN): cannot listen on {}{}{}; give another HOST:PORT, or none",
            settings.listen, errno != 0 ? ": " : "", errno != 0 ? std::strerror(errno) : ""));
    }
    spdlog::info("admin: http://{}:{}/", endpoint->host, state_->port);
    state_->thread = std::thread([server = &state_->server] { server->listen_after_bind(); });
    // stop() before the loop runs would have no effect and join() no end.
    while (!state_->server.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

AdminHttp::~AdminHttp() {
    if (!state_->thread.joinable()) return;
    state_->server.stop();
    state_->thread.join();
}

int AdminHttp::port() const noexcept {
    return state_->port;
}

}  // namespace cqrs
