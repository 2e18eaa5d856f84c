// SQL statements one after the other without ever waiting for them: the thread that reads the
// stream goes on answering the walsender.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "postgres/connection.hpp"
#include "relay/types.hpp"

namespace cqrs::relay {

class Statements {
  public:
    explicit Statements(postgres::Connection& connection) : connection_(connection) {}

    using Done = std::function<void(const postgres::Result&)>;
    void run(std::string sql, std::vector<std::string> params, Done done = {});

    bool idle() const noexcept { return queue_.empty(); }
    // How long the current one has been running.
    Clock::duration age() const { return idle() ? Clock::duration::zero() : Clock::now() - since_; }
    int socket() const noexcept { return connection_.socket(); }

    // Call when the socket is readable. Throws Error: a statement failed, or the session has ended.
    void progress();

  private:
    struct Statement {
        std::string sql;
        std::vector<std::string> params;
        Done done;
    };
    void send();

    postgres::Connection& connection_;
    std::deque<Statement> queue_;  // the front one is under way
    Clock::time_point since_{};
};

}  // namespace cqrs::relay
