#include "open_files.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cerrno>
#include <system_error>

#include "config.hpp"

namespace cqrs {

namespace {

// A relay or an applier of one topic has about 20 open.
constexpr rlim_t least = 64;

constexpr const char* advice =
    "raise it: ulimit -n 1024, LimitNOFILE=1024 of a systemd unit, or a container's ulimits";

rlimit limit_of_open_files() {
    rlimit limit = {};
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit;
}

}  // namespace

void raise_open_files() {
    rlimit limit = limit_of_open_files();
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    const auto now = limit_of_open_files().rlim_cur;
    if (now < least)
        throw ConfigError(fmt::format(
            "no more than {} files may be open, at least {} are needed; {}", now, least, advice));
}

std::string about_open_files(std::string_view reason) {
    for (const int error : {EMFILE, ENFILE})
        if (reason.find(std::generic_category().message(error)) != reason.npos)
            return fmt::format("{} files may be open; {}", limit_of_open_files().rlim_cur, advice);
    return {};
}

}  // namespace cqrs
