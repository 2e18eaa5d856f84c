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
    // bite() runs on the watchdog's thread, again and again as long as the operation hangs.
    Watchdog(std::chrono::milliseconds limit, std::function<void()> bite);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    // From now on an operation that does not return at once is bitten.
    void hurry();

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
    std::function<void()> bite_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::chrono::milliseconds limit_, pace_{1000};
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace cqrs::relay
