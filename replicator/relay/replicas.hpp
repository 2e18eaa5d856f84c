// The replicas that there are: what their appliers report through the broker, kept in cqrs.replica
// on the primary, with the sizes of their queues. Its own thread, AMQP and SQL connections; nothing
// of the relay waits for it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <thread>

#include "broker/connection.hpp"
#include "config.hpp"
#include "postgres/connection.hpp"
#include "relay/types.hpp"
#include "stop.hpp"

namespace cqrs::relay {

// The replica that a report is about; nullopt when it is none of the form that ARCHITECTURE.md
// describes.
struct Report {
    std::string replica;
    bool removed = false;
};
std::optional<Report> parse_report(const std::string& body);

class Replicas {
  public:
    explicit Replicas(const Settings& settings);
    ~Replicas();  // stops and joins
    Replicas(const Replicas&) = delete;
    Replicas& operator=(const Replicas&) = delete;

  private:
    void run();
    void serve();  // one pair of connections, until one fails
    void take(const broker::Delivery& delivery);
    void write();
    void look_at_queues();

    const Settings& settings_;
    Stop stop_;
    std::map<std::string, std::string> reports_;  // the last of each replica, not written yet
    std::optional<postgres::Connection> primary_;
    Clock::time_point wrote_{}, looked_{};
    std::string trouble_;
    std::thread thread_;
};

}  // namespace cqrs::relay
