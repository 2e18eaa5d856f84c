// The one thread that touches the AMQP connection: publishes what the reader hands over, in order,
// tracks confirms, reconnects and sends again. The loop and its reasons: ARCHITECTURE.md, "The
// relay".
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "broker/connection.hpp"
#include "broker/silence.hpp"
#include "config.hpp"
#include "relay/handoff.hpp"
#include "relay/histories.hpp"
#include "relay/ledger.hpp"
#include "relay/watchdog.hpp"
#include "stop.hpp"

namespace cqrs::relay {

class Publisher {
  public:
    // Starts the thread. It ends after Handoff::finish() once all is confirmed, or at abandon().
    Publisher(const Settings& settings, Handoff& handoff, Metrics& metrics, Health& health);
    ~Publisher();  // abandons and joins
    Publisher(const Publisher&) = delete;
    Publisher& operator=(const Publisher&) = delete;

    void abandon();  // end now, whatever is unconfirmed

  private:
    void run();
    void serve();  // one connection, until it fails (throws) or the work is finished
    void connect();
    void disconnect();
    void drain();
    void handle(const broker::Confirm& confirm);
    void handle(const broker::Returned& returned);
    void handle(const broker::Blocked& blocked);
    void handle(const broker::Cancelled&) {}
    void handle(const broker::Delivery&) {}
    void take();
    void settle();  // what the confirms made certain
    void publish_ready();
    void publish(const Message& message);
    void publish_heartbeat(const Checkpoint& checkpoint);
    void publish_witness(const Checkpoint& checkpoint);
    void note_routing(const Message& message, bool returned);
    void wait();
    void forget();
    void failed(const std::string& what);
    void recovered();
    void report();
    bool done() const { return finishing_ && ledger_.empty() && items_.empty(); }

    const Settings& settings_;
    Handoff& handoff_;
    Health& health_;
    Stop abandon_;
    Ledger ledger_;
    Histories histories_;
    std::deque<Handoff::Item> items_;
    bool finishing_ = false;
    bool blocked_ = false;
    std::string trouble_;  // the last failure logged; empty: confirms flow
    bool has_witness_ = false;
    bool told_of_witness_ = false;
    bool refused_ = false;  // the broker nacked: the witness may be what is broken
    broker::Silence witness_silence_;
    std::optional<Checkpoint> witness_;  // the last one left with the broker on this connection
    Clock::time_point witness_at_{};
    std::set<std::string> unrouted_;  // topics whose last message nobody wanted
    Backoff backoff_;
    Clock::time_point connected_at_{};

    prometheus::Counter &messages_, &returned_, &reconnects_, &heartbeats_;
    prometheus::Gauge &blocked_gauge_, &unconfirmed_, &oldest_;

    std::optional<broker::Connection> connection_;
    const std::shared_ptr<broker::Breaker> breaker_ = std::make_shared<broker::Breaker>();
    Watchdog watchdog_;
    std::thread thread_;
};

}  // namespace cqrs::relay
