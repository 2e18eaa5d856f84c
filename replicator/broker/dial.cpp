#include "broker/dial.hpp"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "broker/connection.hpp"
#include "open_files.hpp"

namespace cqrs::broker {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Free {
    void operator()(addrinfo* list) const noexcept { freeaddrinfo(list); }
};

[[noreturn]] void fail(const Address& address, const std::string& reason, const char* check) {
    throw Error(0,
                fmt::format("{}: cannot connect: {} ({})", address.name(), reason,
                            about_open_files(reason).empty() ? check : about_open_files(reason)));
}

std::unique_ptr<addrinfo, Free> resolve(const Address& address) {
    addrinfo hints = {};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    errno = 0;
    const int status =
        getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
    if (status == 0) return std::unique_ptr<addrinfo, Free>(list);
    // Without a file for the resolver's configuration it says "temporary failure".
    const bool system = status == EAI_SYSTEM || errno == EMFILE || errno == ENFILE;
    fail(address, system ? std::generic_category().message(errno) : gai_strerror(status),
         "is the broker URL's host right, and does the name resolve here?");
}

// 0, or the reason as errno.
int wait_connected(int fd, milliseconds limit) {
    const auto deadline = Clock::now() + limit;
    for (;;) {
        const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
        pollfd p{fd, POLLOUT, 0};
        const int ready = poll(&p, 1, std::max(0, static_cast<int>(left.count())));
        if (ready == 0) return ETIMEDOUT;
        if (ready > 0) break;
        if (errno != EINTR) return errno;
    }
    int reason = 0;
    socklen_t size = sizeof reason;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &size) != 0) return errno;
    // Broken off: there is no error, but no peer either.
    sockaddr_storage peer = {};
    size = sizeof peer;
    if (reason == 0 && getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0)
        return errno;
    return reason;
}

const char* what_to_check(int reason) {
    switch (reason) {
        case ECONNREFUSED:
            return "is the broker running, and is the broker URL's port right?";
        case ETIMEDOUT:
            return "is the broker URL's host right, and does a firewall stand between?";
        default:
            return "is the broker URL's host right, and is there a route to it?";
    }
}

}  // namespace

int dial(const Address& address, milliseconds timeout, Breaker& breaker) {
    const auto list = resolve(address);  // has a time limit of its own, in resolv.conf
    const auto deadline = Clock::now() + timeout;
    int left = 0, reason = 0;
    for (const addrinfo* a = list.get(); a; a = a->ai_next) ++left;
    // An address that nobody answers at leaves time for the others.
    for (const addrinfo* a = list.get(); a; a = a->ai_next, --left) {
        const int fd =
            socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
        if (fd < 0) {
            reason = errno;
            continue;
        }
        breaker.attach(fd);
        const auto limit = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()) / left;
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) return fd;
        reason = errno == EINPROGRESS ? wait_connected(fd, limit) : errno;
        if (reason == 0) return fd;
        breaker.attach(-1);
        close(fd);
    }
    fail(address,
         reason == ETIMEDOUT ? fmt::format("no answer within {} ms", timeout.count())
                             : std::generic_category().message(reason),
         what_to_check(reason));
}

}  // namespace cqrs::broker
