// One topic's thread: sessions one after the other, with a pause after each failure; a topic that
// stopped waits for somebody to change something.
#pragma once

#include <atomic>
#include <string>
#include <thread>

#include "apply/context.hpp"
#include "apply/position.hpp"
#include "broker/silence.hpp"

namespace cqrs::apply {

class Worker {
  public:
    Worker(Context& context, std::string topic);
    ~Worker();  // stops and joins
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    void wake() noexcept { control_.wake(); }
    void request_stop() noexcept { control_.stop.request(); }
    // Breaks off a statement that is still running: after a request to stop.
    void interrupt() noexcept { control_.interrupt(); }
    bool done() const noexcept { return done_; }
    const std::string& topic() const { return topic_; }

  private:
    void run();
    void session();
    void healthy(bool moved);
    void unhealthy(const std::string& reason, bool error);
    void stopped(const std::string& reason);

    Context& context_;
    const std::string topic_;
    Control control_;
    Backoff backoff_;
    broker::Silence silence_;
    std::string said_;    // the failure that was logged last
    std::string halted_;  // the Halt that was tried once more
    std::string unsaid_;  // why the position could not be told of it
    std::atomic<bool> done_{false};
    std::thread thread_;
};

}  // namespace cqrs::apply
