#include "relay/notifier.hpp"

#include <simdjson.h>
#include <spdlog/spdlog.h>

namespace cqrs::relay {

namespace {

using namespace std::chrono_literals;
using postgres::Error;
using postgres::Remedy;

constexpr std::size_t payload_limit = 8000;
constexpr std::size_t queue_bytes = 16 * 1024 * 1024;
constexpr std::size_t batch_events = 1000;
constexpr auto calm = 10s;  // so long without a loss ends a run of losses

// The function call is volatile: the planner may not leave it out. In order of the arrays.
constexpr const char* notify_sql =
    "SELECT count(*) FROM unnest($1::text[], $2::text[]) AS e(channel, payload), "
    "LATERAL pg_notify(channel, payload)";

}  // namespace

std::string notify_payload(std::string_view event) {
    if (event.size() < payload_limit) return std::string(event);
    try {
        simdjson::dom::parser parser;
        const simdjson::dom::element root = parser.parse(event.data(), event.size());
        return std::string(std::string_view(root["id"]));
    } catch (const simdjson::simdjson_error& e) {
        spdlog::debug("relay: event without an id: {}", e.what());
        return {};
    }
}

std::string array_literal(const std::deque<Notifier::Notification>& batch,
                          std::string Notifier::Notification::*member) {
    std::string out = "{";
    for (const auto& n : batch) {
        if (out.size() > 1) out += ',';
        out += '"';
        for (const char c : n.*member) {
            if (c == '"' || c == '\\') out += '\\';
            out += c;
        }
        out += '"';
    }
    out += '}';
    return out;
}

Notifier::Notifier(const Settings& settings, Metrics& metrics, Health& health)
    : settings_(settings),
      health_(health),
      sent_(metrics.counter("cqrs_relay_notified_total", "Events sent by NOTIFY on the primary")),
      dropped_(metrics.counter("cqrs_relay_notify_dropped_total",
                               "Events that could not be sent by NOTIFY on the primary")),
      thread_([this] {
          run();
          ended_.request();
      }) {}

Notifier::~Notifier() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    stop_.request();
    arrived_.notify_one();
    ended_.wait_for(1s);
    give_up_.request();
    thread_.join();
}

void Notifier::notify(std::vector<Notification> notifications) {
    std::size_t left = 0;
    {
        const std::lock_guard lock(mutex_);
        for (Notification& n : notifications) {
            if (bytes_ + n.payload.size() > queue_bytes) {
                ++left;
                continue;
            }
            bytes_ += n.payload.size();
            queue_.push_back(std::move(n));
        }
        overflow_ += left;
    }
    arrived_.notify_one();
    if (left) count_loss(left);
}

Notifier::Batch Notifier::next_batch() {
    Batch batch;
    std::size_t overflow = 0;
    {
        std::unique_lock lock(mutex_);
        const auto something = [this] { return ending_ || !queue_.empty(); };
        if (lost_ == 0)
            arrived_.wait(lock, something);
        else
            arrived_.wait_for(lock, calm, something);
        while (!queue_.empty() && batch.size() < batch_events) {
            bytes_ -= queue_.front().payload.size();
            batch.push_back(std::move(queue_.front()));
            queue_.pop_front();
        }
        std::swap(overflow, overflow_);
    }
    if (overflow) left_out(overflow);
    if (lost_ && Clock::now() - lost_at_ >= calm) {
        spdlog::info("relay: NOTIFY keeps up again; {} events were left out", lost_);
        lost_ = 0;
    }
    return batch;
}

void Notifier::run() {
    Backoff backoff;
    Batch batch;
    for (;;) {
        if (batch.empty()) batch = next_batch();
        if (batch.empty()) {
            if (stop_.requested()) return;
            continue;
        }
        try {
            send(batch);
            backoff.reset();
            if (!trouble_.empty()) spdlog::info("relay: NOTIFY works again");
            trouble_.clear();
            batch.clear();
        } catch (const Error& e) {
            if (trouble_ != e.what()) spdlog::warn("relay: NOTIFY failed: {}", e.what());
            trouble_ = e.what();
            if (e.remedy() == Remedy::stop && connection_ && connection_->ok()) {
                send_one_by_one(batch);
                batch.clear();
            } else {
                connection_.reset();
            }
            if (stop_.requested()) return;
            stop_.wait_for(backoff.next());
        }
    }
}

void Notifier::send(const Batch& batch) {
    if (!connection_) {
        connection_ = postgres::Connection::open(settings_.database_url, "cqrs relay notify", false,
                                                 10s, &give_up_);
        connection_->heed(give_up_);
        connection_->exec("SET synchronous_commit = off");
    }
    const std::string channels = array_literal(batch, &Notification::channel);
    const std::string payloads = array_literal(batch, &Notification::payload);
    connection_->query(notify_sql, {channels, payloads});
    sent_.Increment(static_cast<double>(batch.size()));
}

// One of them cannot be said (a character that the server's encoding lacks): the others can.
void Notifier::send_one_by_one(const Batch& batch) {
    for (const Notification& n : batch) {
        try {
            send({n});
        } catch (const Error& e) {
            count_loss(1);
            left_out(1);
            if (!connection_ || !connection_->ok()) return connection_.reset();
        }
    }
}

// They are gone for LISTENers on the primary, not for the replicas.
void Notifier::count_loss(std::size_t count) {
    dropped_.Increment(static_cast<double>(count));
    health_.note("relay.notify_left_out", std::to_string(lost_ever_ += count));
}

void Notifier::left_out(std::size_t count) {
    if (lost_ == 0) spdlog::warn("relay: NOTIFY on the primary leaves events out");
    lost_ += count;
    lost_at_ = Clock::now();
}

}  // namespace cqrs::relay
