// An eventfd: any thread signals, one thread polls.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

namespace cqrs {

class Wakeup {
  public:
    Wakeup() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    }
    ~Wakeup() { close(fd_); }
    Wakeup(const Wakeup&) = delete;
    Wakeup& operator=(const Wakeup&) = delete;

    int fd() const noexcept { return fd_; }
    void signal() noexcept {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto ignored = write(fd_, &one, sizeof one);  // full: it is readable
    }
    void drain() noexcept {
        std::uint64_t count;
        [[maybe_unused]] const auto ignored = read(fd_, &count, sizeof count);  // empty: no matter
    }

  private:
    int fd_;
};

}  // namespace cqrs
