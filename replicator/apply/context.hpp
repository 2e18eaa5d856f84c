// What the workers of one applier share.
#pragma once

#include <poll.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "apply/heartbeat.hpp"
#include "broker/connection.hpp"
#include "config.hpp"
#include "copy/progress.hpp"
#include "postgres/connection.hpp"
#include "stop.hpp"
#include "wakeup.hpp"

namespace cqrs::apply {

struct Context {
    const Settings& settings;
    Metrics& metrics;
    Health& health;
    Heartbeats& heartbeats;
    copy::Progress& progress;
};

// How others reach a worker: wake it, or break off what it is waiting for. Thread-safe.
class Control {
  public:
    Stop stop;

    // Something about the topic's subscriptions changed: begin the session anew.
    void wake() noexcept {
        woken_ = true;
        wakeup_.signal();
    }
    bool woken() const noexcept { return woken_; }
    bool take_wake() noexcept {
        wakeup_.drain();
        return woken_.exchange(false);
    }
    int fd() const noexcept { return wakeup_.fd(); }

    // Waits for stop, a wake-up or the timeout.
    void wait(std::chrono::milliseconds timeout) const noexcept {
        pollfd fds[] = {{stop.fd(), POLLIN, 0}, {fd(), POLLIN, 0}};
        poll(fds, 2, static_cast<int>(timeout.count()));
    }

    // The worker says what can be broken off.
    void add_postgres(const postgres::Connection& connection) {
        const std::lock_guard lock(mutex_);
        cancellers_.emplace_back(connection);
    }
    void forget_postgres() {
        const std::lock_guard lock(mutex_);
        cancellers_.clear();
    }
    void set_broker(const broker::Connection* connection) {
        const std::lock_guard lock(mutex_);
        breaker_ = connection ? connection->breaker() : nullptr;
    }
    void interrupt() noexcept {
        const std::lock_guard lock(mutex_);
        if (breaker_) breaker_->break_off();
        for (postgres::Canceller& c : cancellers_) c.cancel();
    }

  private:
    Wakeup wakeup_;
    std::atomic<bool> woken_{false};
    std::mutex mutex_;
    std::vector<postgres::Canceller> cancellers_;
    std::shared_ptr<broker::Breaker> breaker_;
};

}  // namespace cqrs::apply
