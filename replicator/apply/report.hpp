// Tells the relay, through the broker, how far this replica has come: that is how the primary knows
// its replicas. Its own connection: what is published shares none with acknowledgements.
#pragma once

#include <mutex>
#include <string>

#include "apply/companion.hpp"
#include "config.hpp"
#include "postgres/connection.hpp"

namespace cqrs::apply {

// The body of a report (ARCHITECTURE.md, "Replicas"), from cqrs.position and cqrs.subscription.
std::string report_body(postgres::Connection& replica, const std::string& name);

class Reports {
  public:
    explicit Reports(const Settings& settings);
    Companion& thread() noexcept { return thread_; }
    // Sent when it differs from the last one, else now and then.
    void set(std::string body);

  private:
    void publish();

    const Settings& settings_;
    std::mutex mutex_;
    std::string body_;
    Companion thread_;  // last: it ends before what it uses
};

}  // namespace cqrs::apply
