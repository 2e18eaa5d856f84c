// Bites when an operation that may block for ever takes too long. Own thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "relay/types.hpp"

namespace cqrs::relay {

class Watchdog {
  public:
    // bite() runs on the watchdog's thread, once a second as long as the operation hangs.
    Watchdog(std::chrono::milliseconds limit, std::function<void()> bite);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    // From now on operations have this long.
    void set_limit(std::chrono::milliseconds limit) noexcept { limit_ms_ = limit.count(); }

    // The operation lasts as long as this.
    class Guard {
      public:
        explicit Guard(Watchdog& dog) : dog_(dog) {
            dog_.since_ = Clock::now().time_since_epoch().count();
        }
        ~Guard() { dog_.since_ = 0; }
        Guard(const Guard&) = delete;
        Guard& operator=(const Guard&) = delete;

      private:
        Watchdog& dog_;
    };

  private:
    void run();

    std::atomic<Clock::rep> since_{0};  // 0: nothing under way
    std::atomic<std::int64_t> limit_ms_;
    std::function<void()> bite_;
    std::mutex mutex_;
    std::condition_variable end_;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace cqrs::relay
