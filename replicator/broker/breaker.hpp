// Breaks off whatever hangs in a connection to the broker, from another thread: the connect, the
// login or a publish.
#pragma once

#include <sys/socket.h>

#include <mutex>

namespace cqrs::broker {

class Breaker {
  public:
    void break_off() noexcept {
        const std::lock_guard lock(mutex_);
        if (fd_ >= 0) ::shutdown(fd_, SHUT_RDWR);
    }
    // By the thread that owns the socket, before it closes it too; -1: none.
    void attach(int fd) noexcept {
        const std::lock_guard lock(mutex_);
        fd_ = fd;
    }

  private:
    std::mutex mutex_;  // so that no number is shut down that was closed and used again
    int fd_ = -1;
};

}  // namespace cqrs::broker
