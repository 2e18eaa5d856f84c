// Tells the relay, through the broker, how far this replica has come: that is how the primary knows
// its replicas. Its own thread and connection: what is published shares none with acknowledgements.
#pragma once

#include <mutex>
#include <string>
#include <thread>

#include "config.hpp"
#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs::apply {

// The body of a report (ARCHITECTURE.md, "Replicas"), from cqrs.position and cqrs.subscription.
std::string report_body(postgres::Connection& replica, const std::string& name);

class Reports {
  public:
    explicit Reports(const Settings& settings);
    ~Reports();
    void start();
    void request_stop() noexcept { stop_.request(); }
    void stop();  // and waits for it
    // Sent when it differs from the last one, else now and then.
    void set(std::string body);

  private:
    void run();
    void publish();

    const Settings& settings_;
    Stop stop_;
    std::mutex mutex_;
    std::string body_;
    std::thread thread_;
};

}  // namespace cqrs::apply
