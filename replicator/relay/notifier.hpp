// NOTIFY on the primary for tables published with notify => true: many events in one transaction,
// so that the writers pay nothing. Own connection, own thread; never holds up the relay: what it
// cannot deliver it drops, counts and logs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "config.hpp"
#include "postgres/connection.hpp"
#include "relay/types.hpp"
#include "stop.hpp"

namespace cqrs::relay {

class Notifier {
  public:
    Notifier(const Settings& settings, Metrics& metrics, Health& health);  // starts the thread
    ~Notifier();  // sends what is queued if that takes under a second
    Notifier(const Notifier&) = delete;
    Notifier& operator=(const Notifier&) = delete;

    // Channel: the event's type. Payload: the event, or its id where NOTIFY cannot take it.
    struct Notification {
        std::string channel, payload;
    };
    void notify(std::vector<Notification> notifications);

  private:
    using Batch = std::deque<Notification>;

    void run();
    Batch next_batch();
    void send(const Batch& batch);
    void send_one_by_one(const Batch& batch);
    void count_loss(std::size_t count);  // at once, from any thread
    void left_out(std::size_t count);    // says so, once a run

    const Settings& settings_;
    Health& health_;
    prometheus::Counter &sent_, &dropped_;
    std::mutex mutex_;
    std::condition_variable arrived_;
    Batch queue_;
    std::size_t bytes_ = 0;
    std::size_t overflow_ = 0;  // left out because the queue was full, not yet said
    bool ending_ = false;
    Stop stop_;     // ends the wait between attempts
    Stop give_up_;  // ends what hangs
    Stop ended_;
    std::optional<postgres::Connection> connection_;
    std::string trouble_;  // the last failure logged
    // A run of events left out, told at its begin and at its end.
    std::size_t lost_ = 0;
    std::atomic<std::size_t> lost_ever_{0};
    Clock::time_point lost_at_{};
    std::thread thread_;
};

// The payload that NOTIFY can carry: below 8000 bytes.
std::string notify_payload(std::string_view event);

// A text[] literal.
std::string array_literal(const std::deque<Notifier::Notification>& batch,
                          std::string Notifier::Notification::*member);

}  // namespace cqrs::relay
