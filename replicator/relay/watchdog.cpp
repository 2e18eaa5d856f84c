#include "relay/watchdog.hpp"

namespace cqrs::relay {

Watchdog::Watchdog(std::chrono::milliseconds limit, std::function<void()> bite)
    : bite_(std::move(bite)), limit_(limit), thread_([this] { run(); }) {}

Watchdog::~Watchdog() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Watchdog::hurry() {
    {
        const std::lock_guard lock(mutex_);
        limit_ = std::chrono::milliseconds(0);
        pace_ = std::chrono::milliseconds(20);
    }
    changed_.notify_one();
}

void Watchdog::run() {
    std::unique_lock lock(mutex_);
    while (!ending_) {
        const Clock::rep since = since_;
        if (since != 0 && Clock::now() - Clock::time_point(Clock::duration(since)) > limit_)
            bite_();
        changed_.wait_for(lock, pace_);
    }
}

}  // namespace cqrs::relay
