#include "admin/doctor.hpp"

#include <fmt/format.h>

#include <cstdio>

#include "admin/doctor_checks.hpp"

namespace cqrs {

// The primary first: the replica's tables are compared with what it publishes, and the broker is
// asked for the queues of the topics that both know.
int run_doctor(const Settings& settings) {
    Discovered discovered;
    bool failed = false;
    const auto run = [&](const char* side, const std::string& url, auto check) {
        Findings findings(side);
        if (url.empty()) {
            findings.note("not asked for");
        } else {
            check(settings, findings, discovered);
        }
        fmt::print("{}", findings.text());
        std::fflush(stdout);
        failed = failed || findings.failed();
    };
    run("primary", settings.database_url, check_primary);
    run("replica", settings.replica_database_url, check_replica);
    run("broker", settings.broker_url, check_broker);
    return failed ? 1 : 0;
}

}  // namespace cqrs
