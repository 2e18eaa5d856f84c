#include "relay/publisher.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "broker/compression.hpp"
#include "broker/names.hpp"
#include "relay/wire.hpp"
#include "relay/witness.hpp"

namespace cqrs::relay {

namespace {

using namespace std::chrono_literals;

// In flight at most: enough to keep the broker busy, little to send again. One message always goes.
constexpr std::size_t window_messages = 64;
constexpr std::size_t worth_compressing = 1024;
constexpr std::size_t window_bytes = 2 * 1024 * 1024;
// Two AMQP heartbeats: beyond, the broker does not read (a memory or disk alarm) and rabbitmq-c's
// publish would wait for ever.
constexpr auto hang_limit = 20s;
// A connection that lasts so long works: it did not only open, to be closed at the first message.
constexpr auto proven_after = 2s;

}  // namespace

Publisher::Publisher(const Settings& settings, Handoff& handoff, Metrics& metrics, Health& health)
    : settings_(settings),
      handoff_(handoff),
      health_(health),
      histories_(settings, health),
      messages_(metrics.counter("cqrs_relay_messages_total", "Messages confirmed by the broker")),
      returned_(metrics.counter("cqrs_relay_returned_total",
                                "Messages that the broker could route to no queue")),
      reconnects_(metrics.counter("cqrs_relay_reconnects_total",
                                  "Connections lost or refused, by peer", {{"peer", "broker"}})),
      heartbeats_(metrics.counter("cqrs_relay_heartbeats_total", "Heartbeats published")),
      blocked_gauge_(metrics.gauge(
          "cqrs_relay_blocked", "1 while the broker refuses messages for lack of memory or disk")),
      unconfirmed_(metrics.gauge("cqrs_relay_unconfirmed_messages",
                                 "Messages read from the primary and not confirmed by the broker")),
      oldest_(metrics.gauge("cqrs_relay_oldest_unconfirmed_seconds",
                            "Age of the oldest message that the broker has not confirmed")),
      watchdog_(hang_limit, [this] { breaker_->break_off(); }),
      thread_([this] { run(); }) {}

Publisher::~Publisher() {
    abandon();
    thread_.join();
}

void Publisher::abandon() {
    abandon_.request();
    // What hangs has to return: the thread is waited for.
    watchdog_.hurry();
}

void Publisher::run() {
    try {
        while (!done() && !abandon_.requested()) {
            try {
                serve();
            } catch (const broker::Error& e) {
                failed(e.what());
                disconnect();
                ledger_.resend();
                const auto until = Clock::now() + backoff_.next();
                // New sessions and the end of the work are noticed while the broker is away.
                while (!abandon_.requested() && !done() && Clock::now() < until) {
                    take();
                    settle();
                    report();
                    const auto left =
                        std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
                    abandon_.wait_for(std::clamp(left, 1ms, 200ms));
                }
            }
        }
    } catch (const std::exception& e) {
        spdlog::critical("relay: publisher: {}", e.what());
        health_.set("relay.broker", fmt::format("the publisher ended: {}", e.what()));
    }
    disconnect();
    handoff_.set_finished();
}

void Publisher::serve() {
    if (ledger_.empty() && items_.empty()) take();
    if (done()) return;
    connect();
    while (!abandon_.requested()) {
        drain();
        take();
        handoff_.report(histories_.carry_out());
        settle();
        if (done()) return;
        publish_ready();
        if (!trouble_.empty() && Clock::now() - connected_at_ > proven_after) recovered();
        report();
        wait();
    }
}

void Publisher::connect() {
    // Publishing to a queue that hangs holds up everything else.
    if (!trouble_.empty() && (refused_ || witness_silence_.young())) {
        ask_witness(settings_, witness_silence_);
        refused_ = false;
    }
    const Watchdog::Guard guard(watchdog_);
    connection_.emplace(broker::Connection::open(settings_.broker_url, settings_.broker_cacert,
                                                 "cqrs relay", 5s, breaker_));
    connection_->declare_exchanges();
    has_witness_ = declare_witness(*connection_, settings_.slot, witness_silence_);
    witness_.reset();
    if (!has_witness_ && !std::exchange(told_of_witness_, true))
        spdlog::warn(
            "relay: the broker's user may not use queue {}: that the primary was restored to an "
            "earlier point would not be noticed; README, \"Rights\"",
            broker::witness_queue_name(settings_.slot));
    histories_.broker_changed();
    connection_->confirm_select();
    blocked_ = false;
    blocked_gauge_.Set(0);
    connected_at_ = Clock::now();
    if (trouble_.empty()) spdlog::info("relay: connected to broker {}", connection_->host());
}

void Publisher::disconnect() {
    connection_.reset();
}

// Everything that has arrived. Always before publishing: rabbitmq-c's publish would otherwise trip
// over what it has not read.
void Publisher::drain() {
    const Watchdog::Guard guard(watchdog_);
    while (const auto event = connection_->next(0ms))
        std::visit([this](const auto& e) { handle(e); }, *event);
}

void Publisher::handle(const broker::Confirm& confirm) {
    if (ledger_.confirm(confirm.tag, confirm.multiple, confirm.ack)) return;
    refused_ = true;
    throw broker::Error(0, connection_->host() +
                               ": the broker refused a message (nack): a queue with "
                               "x-overflow reject-publish is full, or failed");
}

void Publisher::recovered() {
    backoff_.reset();
    if (trouble_.empty()) return;
    trouble_.clear();
    if (!blocked_) health_.set("relay.broker", "");
    spdlog::info("relay: connected to broker {} again", connection_->host());
}

void Publisher::handle(const broker::Returned& returned) {
    returned_.Increment();
    const auto colon = returned.message_id.rfind(':');
    const std::string topic = returned.routing_key.substr(0, returned.routing_key.find('.'));
    if (colon == std::string::npos) return;
    ledger_.mark_returned(topic,
                          std::strtoll(returned.message_id.c_str() + colon + 1, nullptr, 10));
}

void Publisher::handle(const broker::Blocked& blocked) {
    if (blocked.blocked == blocked_) return;
    blocked_ = blocked.blocked;
    blocked_gauge_.Set(blocked_ ? 1 : 0);
    if (blocked_) {
        spdlog::warn(
            "relay: broker {} takes no messages: {}; until it does, the primary keeps its WAL",
            connection_->host(), blocked.reason);
        health_.set("relay.broker", "blocked by the broker: " + blocked.reason);
    } else {
        spdlog::info("relay: broker {} takes messages again", connection_->host());
        health_.set("relay.broker", "");
    }
}

void Publisher::take() {
    handoff_.take(items_);
    for (; !items_.empty(); items_.pop_front()) {
        auto& item = items_.front();
        if (auto* message = std::get_if<Message>(&item))
            ledger_.append(std::move(*message));
        else if (auto* checkpoint = std::get_if<Checkpoint>(&item))
            ledger_.append(std::move(*checkpoint));
        else if (auto* retention = std::get_if<Retention>(&item))
            histories_.want(std::move(*retention));
        else if (std::holds_alternative<Handoff::Reset>(item))
            forget();
        else
            finishing_ = true;
    }
}

// The stream starts again at relay_state and brings everything unconfirmed back.
void Publisher::forget() {
    handoff_.release(ledger_.size(), ledger_.bytes());
    ledger_.clear();
}

void Publisher::settle() {
    const auto progress = ledger_.advance(
        [this](const Message& message, bool returned) { note_routing(message, returned); });
    if (progress.messages) messages_.Increment(static_cast<double>(progress.messages));
    handoff_.release(progress.messages, progress.bytes);
    if (!progress.checkpoint) return;
    if (progress.checkpoint->heartbeat && connection_ && !blocked_) {
        publish_heartbeat(*progress.checkpoint);
        publish_witness(*progress.checkpoint);
    }
    handoff_.confirm(*progress.checkpoint);
}

void Publisher::note_routing(const Message& message, bool returned) {
    if (returned) {
        if (unrouted_.insert(message.topic).second)
            spdlog::warn(
                "relay: no queue is bound for {}: messages of topic {} are published but reach "
                "nobody",
                message.routing_key, message.topic);
    } else if (!unrouted_.empty() && unrouted_.erase(message.topic)) {
        spdlog::info("relay: messages of topic {} reach a queue again", message.topic);
    }
}

void Publisher::publish_ready() {
    while (!blocked_ && ledger_.next() && ledger_.in_flight() < window_messages &&
           ledger_.in_flight_bytes() < window_bytes && connection_->writable(0ms)) {
        publish(*ledger_.next());
        drain();
    }
}

void Publisher::publish(const Message& message) {
    auto properties = properties_of(message);
    std::string compressed;
    if (settings_.compress && message.body.size() >= worth_compressing) {
        compressed = broker::compress_lz4(message.body);
        properties.content_encoding = broker::lz4_encoding;
    }
    const std::string_view body = compressed.empty() ? std::string_view(message.body) : compressed;
    const Watchdog::Guard guard(watchdog_);
    const std::uint64_t tag =
        connection_->publish(broker::event_exchange, message.routing_key, true, properties, body);
    ledger_.published(tag);
}

void Publisher::publish_heartbeat(const Checkpoint& checkpoint) {
    if (!connection_->writable(0ms)) return;  // it can be left out: another follows
    const Watchdog::Guard guard(watchdog_);
    broker::Properties properties;
    properties.content_type = "application/json";
    properties.persistent = false;
    connection_->publish(broker::heartbeat_exchange, broker::heartbeat_key, false, properties,
                         heartbeat_body(checkpoint));
    heartbeats_.Increment();
}

// Where nothing was published since, the one that is there says the same; never more often than
// heartbeats, but at the end.
void Publisher::publish_witness(const Checkpoint& checkpoint) {
    if (!has_witness_ || !checkpoint.witness || !connection_->writable(0ms)) return;
    if (witness_ && witness_->session == checkpoint.session &&
        (*witness_->topics == *checkpoint.topics ||
         (!checkpoint.last && Clock::now() - witness_at_ < settings_.heartbeat)))
        return;
    const Watchdog::Guard guard(watchdog_);
    broker::Properties properties;
    properties.content_type = "application/json";
    connection_->publish(broker::heartbeat_exchange, broker::witness_key(settings_.slot), false,
                         properties, to_json(checkpoint));
    witness_ = checkpoint;
    witness_at_ = Clock::now();
}

// Until the broker says something, the reader hands something over, or a second has passed (AMQP
// heartbeats are sent and checked in drain()).
void Publisher::wait() {
    if (connection_->buffered()) return;
    const bool send = !blocked_ && ledger_.next() && ledger_.in_flight() < window_messages &&
                      ledger_.in_flight_bytes() < window_bytes;
    pollfd fds[] = {
        {connection_->socket(), static_cast<short>(send ? POLLIN | POLLOUT : POLLIN), 0},
        {handoff_.publisher().fd(), POLLIN, 0},
        {abandon_.fd(), POLLIN, 0}};
    poll(fds, 3, 1000);
    if (fds[1].revents) handoff_.publisher().drain();
}

void Publisher::failed(const std::string& what) {
    reconnects_.Increment();
    if (what != trouble_) spdlog::warn("relay: broker: {}; trying again", what);
    trouble_ = what;
    blocked_ = false;
    blocked_gauge_.Set(0);
    health_.set("relay.broker", "broker: " + what);
}

void Publisher::report() {
    unconfirmed_.Set(static_cast<double>(handoff_.pending()));
    const Message* oldest = ledger_.oldest();
    oldest_.Set(oldest ? std::chrono::duration<double>(Clock::now() - oldest->ready).count() : 0.0);
}

}  // namespace cqrs::relay
