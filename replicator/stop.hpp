// One request to stop, seen by every thread: an eventfd that becomes readable for good.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <system_error>

namespace cqrs {

class Stop {
  public:
    Stop() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    }
    ~Stop() { close(fd_); }
    Stop(const Stop&) = delete;
    Stop& operator=(const Stop&) = delete;

    // Async-signal-safe, idempotent.
    void request() noexcept {
        requested_.store(true, std::memory_order_release);
        const std::uint64_t one = 1;
        [[maybe_unused]] auto ignored = write(fd_, &one, sizeof one);
    }
    bool requested() const noexcept { return requested_.load(std::memory_order_acquire); }

    // Readable once stop is requested: put it in every poll().
    int fd() const noexcept { return fd_; }

    // Waits that long at most; true if stop was requested. The only way to wait in a retry loop.
    bool wait_for(std::chrono::milliseconds timeout) const noexcept {
        pollfd p{fd_, POLLIN, 0};
        if (!requested()) poll(&p, 1, static_cast<int>(timeout.count()));
        return requested();
    }

  private:
    int fd_;
    std::atomic<bool> requested_{false};
};

// Doubles from 100 ms to 5 s; reset() after success.
class Backoff {
  public:
    std::chrono::milliseconds next() noexcept {
        auto now = delay_;
        delay_ = std::min(delay_ * 2, std::chrono::milliseconds(5000));
        return now;
    }
    void reset() noexcept { delay_ = std::chrono::milliseconds(100); }

  private:
    std::chrono::milliseconds delay_{100};
};

}  // namespace cqrs
