// A thread beside the workers with a broker connection of its own, which comes back after every
// failure: what it does is good to have, and no event waits for it.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "stop.hpp"

namespace cqrs::apply {

class Companion {
  public:
    // pass: one connection, until stop is requested or it throws; it calls well() once it works.
    // trouble: the words before the error in the log, said once until it works again.
    Companion(std::string trouble, std::function<void()> pass);
    ~Companion();
    void start();
    void request_stop() noexcept { stop_.request(); }
    void stop();  // and waits for it
    const Stop& stop_requested() const noexcept { return stop_; }
    void well();  // for pass

  private:
    void run();

    const std::string trouble_;
    const std::function<void()> pass_;
    Stop stop_;
    Backoff backoff_;
    std::string said_;
    std::thread thread_;
};

}  // namespace cqrs::apply
