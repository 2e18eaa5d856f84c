#include "apply/report.hpp"

#include <spdlog/spdlog.h>

#include "admin/json.hpp"
#include "broker/connection.hpp"
#include "broker/names.hpp"

namespace cqrs::apply {

namespace {

using namespace std::chrono_literals;

constexpr auto pace = 1s;       // at most so often
constexpr auto at_least = 10s;  // also when nothing moved: it says that this replica lives

}  // namespace

std::string report_body(postgres::Connection& replica, const std::string& name) {
    const auto rows = replica.exec(
        "SELECT s.topic, coalesce(p.state, 'pending'), p.epoch, p.sequence, p.lsn, "
        "(extract(epoch FROM p.committed_at) * 1000000)::bigint "
        "FROM (SELECT topic FROM cqrs.subscription UNION SELECT topic FROM cqrs.handler) s "
        "LEFT JOIN cqrs.position p USING (topic) ORDER BY s.topic");
    JsonWriter json;
    json.begin_object().member("replica", name).key("topics").begin_object();
    for (int i = 0; i < rows.rows(); ++i) {
        json.key(rows.get(i, 0)).begin_object().member("state", rows.get(i, 1));
        if (!rows.is_null(i, 2)) json.member("epoch", rows.get_int(i, 2));
        if (!rows.is_null(i, 3)) json.member("sequence", rows.get_int(i, 3));
        if (!rows.is_null(i, 4)) json.member("lsn", rows.get(i, 4));
        if (!rows.is_null(i, 5)) json.member("committed", rows.get_int(i, 5));
        json.end_object();
    }
    return json.end_object().end_object().str();
}

Reports::Reports(const Settings& settings)
    : settings_(settings),
      thread_("the primary does not hear of this replica", [this] { publish(); }) {}

void Reports::set(std::string body) {
    const std::lock_guard lock(mutex_);
    body_ = std::move(body);
}

// One connection, until it fails or stop is requested.
void Reports::publish() {
    auto connection = broker::Connection::open(settings_.broker_url, settings_.broker_cacert,
                                               "cqrs apply " + settings_.replica + " report", 3s);
    connection.declare_exchange(broker::report_exchange);
    thread_.well();
    broker::Properties properties;
    properties.content_type = "application/json";
    properties.persistent = false;
    bool blocked = false;
    std::string sent;
    auto sent_at = std::chrono::steady_clock::time_point{};
    while (!thread_.stop_requested().wait_for(pace)) {
        while (const auto event = connection.next(0ms))
            if (const auto* b = std::get_if<broker::Blocked>(&*event)) blocked = b->blocked;
        std::string body;
        {
            const std::lock_guard lock(mutex_);
            body = body_;
        }
        const auto now = std::chrono::steady_clock::now();
        if (body.empty() || blocked || (body == sent && now - sent_at < at_least) ||
            !connection.writable(0ms))
            continue;
        connection.publish(broker::report_exchange, settings_.replica, false, properties, body);
        sent = std::move(body);
        sent_at = now;
    }
    connection.close();
}

}  // namespace cqrs::apply
