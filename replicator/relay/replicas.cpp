#include "relay/replicas.hpp"

#include <poll.h>
#include <simdjson.h>
#include <spdlog/spdlog.h>

#include "broker/names.hpp"
#include "broker/replica_queue.hpp"

namespace cqrs::relay {

namespace {

using namespace std::chrono_literals;
using postgres::Connection;
using postgres::Error;

constexpr auto write_every = 1s;
constexpr auto look_every = 15s;
constexpr auto patience = 3s;  // with a connection: the end of the relay may have to wait for it

// $1: the report. Topics that it does not name are not subscribed to any more.
constexpr const char* write_sql = R"(
    WITH report AS (
        SELECT $1::jsonb ->> 'replica' AS name, t.key AS topic, t.value AS v
        FROM jsonb_each($1::jsonb -> 'topics') t
    ), gone AS (
        DELETE FROM cqrs.replica r WHERE r.name = $1::jsonb ->> 'replica'
        AND NOT EXISTS (SELECT FROM report WHERE report.topic = r.topic)
    )
    INSERT INTO cqrs.replica AS r (name, topic, state, epoch, sequence, lsn, committed_at)
    SELECT name, topic, v ->> 'state', (v ->> 'epoch')::bigint, (v ->> 'sequence')::bigint,
           (v ->> 'lsn')::pg_lsn, to_timestamp((v ->> 'committed')::numeric / 1000000)
    FROM report
    ON CONFLICT (name, topic) DO UPDATE SET state = EXCLUDED.state, epoch = EXCLUDED.epoch,
        sequence = EXCLUDED.sequence, lsn = EXCLUDED.lsn, committed_at = EXCLUDED.committed_at,
        seen_at = clock_timestamp())";

}  // namespace

std::optional<Report> parse_report(const std::string& body) {
    namespace dom = simdjson::dom;
    try {
        dom::parser parser(1 << 20);
        const dom::element root = parser.parse(simdjson::padded_string(body));
        Report report;
        report.replica = std::string(std::string_view(root["replica"]));
        bool removed = false;
        report.removed = root["removed"].get(removed) == simdjson::SUCCESS && removed;
        if (!report.removed) [[maybe_unused]]
            const dom::object topics = root["topics"];
        if (report.replica.empty() || report.replica.size() > 63) return std::nullopt;
        return report;
    } catch (const simdjson::simdjson_error&) {
        return std::nullopt;
    }
}

Replicas::Replicas(const Settings& settings) : settings_(settings), thread_([this] { run(); }) {}

Replicas::~Replicas() {
    stop_.request();
    thread_.join();
}

void Replicas::run() {
    while (!stop_.requested()) {
        std::string what;
        auto pause = 5s;
        try {
            serve();
        } catch (const broker::Error& e) {
            // 405: the queue is another relay's, which does the same work.
            if (e.code() == 405)
                pause = 30s;
            else
                what = e.what();
        } catch (const Error& e) {
            what = e.what();
        } catch (const std::exception& e) {
            what = e.what();
        }
        primary_.reset();
        if (!what.empty() && what != trouble_)
            spdlog::warn("relay: cqrs.replica is not kept: {}; trying again", what);
        trouble_ = what;
        stop_.wait_for(pause);
    }
}

void Replicas::serve() {
    auto broker = broker::Connection::open(settings_.broker_url, settings_.broker_cacert,
                                           "cqrs relay replicas", patience);
    broker.declare_exchange(broker::report_exchange);
    broker::QueueOptions options;
    options.durable = false;
    options.exclusive = options.auto_delete = true;
    options.arguments = {{"x-max-length", std::int64_t{1000}},
                         {"x-queue-type", std::string("classic")}};
    const std::string queue = broker::report_queue_name(settings_.slot);
    broker.declare_queue(queue, options);
    broker.bind_queue(queue, broker::report_exchange, "#");
    broker.consume(queue, 100, true);
    primary_.emplace(
        Connection::open(settings_.database_url, "cqrs relay replicas", false, patience));
    primary_->exec(
        "SET synchronous_commit = off; SET lock_timeout = '5s'; SET "
        "statement_timeout = '10s'");
    while (!stop_.requested()) {
        while (const auto event = broker.next(0ms)) {
            if (std::holds_alternative<broker::Cancelled>(*event))
                throw broker::Error(0, "queue " + queue + " was deleted");
            if (const auto* delivery = std::get_if<broker::Delivery>(&*event)) take(*delivery);
        }
        const auto now = Clock::now();
        if (!reports_.empty() && now - wrote_ >= write_every) write();
        if (now - looked_ >= look_every) look_at_queues();
        pollfd fds[] = {{broker.socket(), POLLIN, 0}, {stop_.fd(), POLLIN, 0}};
        if (!broker.buffered()) poll(fds, 2, reports_.empty() ? 1000 : 200);
    }
    broker.close();
}

void Replicas::take(const broker::Delivery& delivery) {
    const auto report = parse_report(delivery.body);
    if (!report) return spdlog::debug("relay: a report was not understood");
    reports_[report->replica] = delivery.body;
}

void Replicas::write() {
    wrote_ = Clock::now();
    for (const auto& [name, body] : std::exchange(reports_, {})) {
        try {
            if (parse_report(body)->removed)
                primary_->query("DELETE FROM cqrs.replica WHERE name = $1", {name});
            else
                primary_->query(write_sql, {body});
            trouble_.clear();
        } catch (const Error& e) {
            // Values that are none (anybody may publish to the exchange) cost only that report.
            if (!primary_->ok() || !e.sqlstate().starts_with("22")) throw;
            spdlog::debug("relay: report of {} refused: {}", name, e.what());
        }
    }
}

// On a connection of its own: a queue that is not there closes the channel.
void Replicas::look_at_queues() {
    looked_ = Clock::now();
    const auto rows = primary_->exec("SELECT name, topic FROM cqrs.replica");
    if (rows.rows() == 0) return;
    auto broker = broker::Connection::open(settings_.broker_url, settings_.broker_cacert,
                                           "cqrs relay look", patience);
    for (int i = 0; i < rows.rows(); ++i) {
        const std::string name(rows.get(i, 0)), topic(rows.get(i, 1));
        const auto info = broker::look_at_queue(broker, broker::queue_name(name, topic));
        const std::string messages = info ? std::to_string(info->messages) : "";
        primary_->query(
            "UPDATE cqrs.replica SET queue_messages = $3 WHERE name = $1 AND topic = $2 AND "
            "queue_messages IS DISTINCT FROM $3",
            {name, topic, info ? postgres::Param(messages) : postgres::Param()});
    }
}

}  // namespace cqrs::relay
