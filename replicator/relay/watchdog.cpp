#include "relay/watchdog.hpp"

namespace cqrs::relay {

Watchdog::Watchdog(std::chrono::milliseconds limit, std::function<void()> bite)
    : limit_ms_(limit.count()), bite_(std::move(bite)), thread_([this] { run(); }) {}

Watchdog::~Watchdog() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    end_.notify_one();
    thread_.join();
}

void Watchdog::run() {
    std::unique_lock lock(mutex_);
    while (!end_.wait_for(lock, std::chrono::seconds(1), [this] { return ending_; })) {
        const Clock::rep since = since_;
        if (since == 0) continue;
        const auto hung = Clock::now() - Clock::time_point(Clock::duration(since));
        if (hung > std::chrono::milliseconds(limit_ms_)) bite_();
    }
}

}  // namespace cqrs::relay
