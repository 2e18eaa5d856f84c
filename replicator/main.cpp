// cqrs-replicator: settings, signals, admin HTTP, then the command.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <thread>

#include "access.hpp"
#include "admin/doctor.hpp"
#include "admin/health.hpp"
#include "admin/http.hpp"
#include "admin/metrics.hpp"
#include "admin/status.hpp"
#include "admin/tail.hpp"
#include "apply/apply.hpp"
#include "config.hpp"
#include "open_files.hpp"
#include "rebuild/rebuild.hpp"
#include "relay/relay.hpp"
#include "replica/add.hpp"
#include "replica/remove.hpp"
#include "stop.hpp"
#include "verify/verify.hpp"

namespace {

// The only state that a signal handler may reach; set once, before the handlers are installed.
cqrs::Stop* stop_of_signals = nullptr;
std::atomic<int> signals_seen{0};  // lock-free

// An orderly end waits for a server that hangs no longer than this, whatever call it hangs in. What
// it leaves undone is what a kill leaves undone, and that is safe.
constexpr itimerval orderly_time = {{}, {.tv_sec = 0, .tv_usec = 900'000}};

// What that end means: 0 where running until a signal is the task, 1 where a task is not done.
volatile std::sig_atomic_t status_without_server = 0;

// The first signal asks for an orderly end, the second ends at once; but a terminal that goes away
// often says so twice.
extern "C" void on_signal(int signal) {
    if (signals_seen.fetch_add(1) > 0) {
        if (signal == SIGHUP) return;
        _exit(128 + signal);
    }
    stop_of_signals->request();
    setitimer(ITIMER_REAL, &orderly_time, nullptr);  // nothing but a system call
}

extern "C" void on_alarm(int) {
    constexpr char text[] = "cqrs-replicator: a server does not answer; ended without it\n";
    // Nobody may be reading: a full pipe is why it hangs then.
    pollfd room = {STDERR_FILENO, POLLOUT, 0};
    if (poll(&room, 1, 0) == 1) {
        [[maybe_unused]] const auto ignored = write(STDERR_FILENO, text, sizeof text - 1);
    }
    _exit(status_without_server);
}

void install_signals(cqrs::Stop& stop) {
    stop_of_signals = &stop;
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags =
        SA_RESTART;  // a write to a full pipe goes on; what polls wakes up all the same
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    // The terminal went away. Whoever is to outlive it was started with SIGHUP ignored, by nohup.
    struct sigaction hangup = {};
    sigaction(SIGHUP, nullptr, &hangup);
    if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, nullptr);
    action.sa_handler = SIG_IGN;  // a closed socket is an error of the call that wrote to it
    sigaction(SIGPIPE, &action, nullptr);
}

using Part = std::function<int()>;

// What a thread must not let out becomes a log line and status 1.
int guarded(const char* name, const Part& part) {
    try {
        return part();
    } catch (const std::exception& e) {
        const std::string hint = cqrs::about_open_files(e.what());
        spdlog::critical("{}: {}{}{}", name, e.what(), hint.empty() ? "" : ": ", hint);
        return 1;
    }
}

// Both until stop; the end of one, whatever its reason, ends the other. The first failure counts.
int run_both(const Part& relay, const Part& apply, cqrs::Stop& stop) {
    int relay_status = 0;
    int apply_status = 0;
    std::thread other([&] {
        relay_status = guarded("relay", relay);
        stop.request();
    });
    apply_status = guarded("apply", apply);
    stop.request();
    other.join();
    return relay_status != 0 ? relay_status : apply_status;
}

int serve(const cqrs::Invocation& invocation, cqrs::Stop& stop) {
    using namespace cqrs;
    const Settings& settings = invocation.settings;
    Opened opened = check_access(invocation.command, settings, stop);
    Metrics metrics;
    Health health;
    // Bound before any part starts: a port in use is an error at once, not a service half there.
    AdminHttp http(settings, metrics, health);
    const Part relay = [&] {
        return run_relay(settings, stop, metrics, health, std::move(opened.primary),
                         std::move(opened.walsender));
    };
    const Part apply = [&] {
        if (settings.init) {
            opened.replica.reset();  // by then nobody knows whether it still is one
            if (!init_replica(settings, stop, metrics)) return stop.requested() ? 0 : 1;
        }
        return run_apply(settings, stop, metrics, health, std::move(opened.replica));
    };
    switch (invocation.command) {
        case Command::relay:
            return guarded("relay", relay);
        case Command::apply:
            return guarded("apply", apply);
        default:
            return run_both(relay, apply, stop);
    }
}

int dispatch(const cqrs::Invocation& invocation, cqrs::Stop& stop) {
    switch (invocation.command) {
        case cqrs::Command::status:
            return cqrs::run_status(invocation.settings);
        case cqrs::Command::tail:
            return cqrs::run_tail(invocation.settings, stop);
        case cqrs::Command::doctor:
            return cqrs::run_doctor(invocation.settings);
        case cqrs::Command::verify:
            return cqrs::run_verify(invocation.settings, stop);
        case cqrs::Command::rebuild:
            return cqrs::run_rebuild(invocation.settings, stop);
        case cqrs::Command::add_replica: {
            cqrs::Metrics metrics;
            cqrs::Health health;
            return cqrs::add_replica(invocation.settings, stop, metrics, health);
        }
        case cqrs::Command::remove_replica:
            return cqrs::remove_replica(invocation.settings);
        default:
            return serve(invocation, stop);
    }
}

// Standard error may be closed or full: what cannot be said must not change the exit status.
int failed(int status, const char* what) {
    std::fputs(fmt::format("cqrs-replicator: {}\n", what).c_str(), stderr);
    return status;
}

// A report that did not arrive is no success.
int written(int status) {
    const bool arrived = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
    return arrived || status != 0 ? status : failed(1, "standard output cannot be written");
}

// Whoever started us may have closed these: a socket must not become what the log is written to.
void open_standard_streams() {
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO) fd = open("/dev/null", O_RDWR);
    if (fd >= 0) close(fd);
}

}  // namespace

int main(int argc, char** argv) {
    open_standard_streams();
    try {
        const auto invocation = cqrs::parse_command_line(argc, argv);
        auto logger = spdlog::stderr_color_mt("cqrs");
        logger->set_level(spdlog::level::from_str(invocation.settings.log_level));
        logger->set_pattern("%Y-%m-%dT%H:%M:%S.%fZ %^%l%$ %v", spdlog::pattern_time_type::utc);
        spdlog::set_default_logger(std::move(logger));
        cqrs::Stop stop;
        using enum cqrs::Command;
        const auto command = invocation.command;
        const bool endless =
            command == relay || command == apply || command == run || command == tail;
        status_without_server = endless ? 0 : 1;
        install_signals(stop);
        cqrs::raise_open_files();
        return written(dispatch(invocation, stop));
    } catch (const cqrs::HelpRequested& help) {
        std::fputs(help.what(), stdout);
        return written(0);
    } catch (const cqrs::ConfigError& e) {
        return failed(2, e.what());
    } catch (const std::exception& e) {
        return failed(1, e.what());
    }
}
