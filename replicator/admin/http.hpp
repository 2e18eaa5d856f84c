// The admin HTTP: /health, /metrics, /status.json and the page, served by a thread of its own.
#pragma once

#include <memory>

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "config.hpp"

namespace cqrs {

class AdminHttp {
  public:
    // Binds settings.listen at once (nothing if it is empty) and serves until destruction, which
    // takes less than a second. metrics and health must outlive it. Throws ConfigError if the
    // address cannot be bound.
    AdminHttp(const Settings& settings, const Metrics& metrics, const Health& health);
    ~AdminHttp();
    AdminHttp(const AdminHttp&) = delete;
    AdminHttp& operator=(const AdminHttp&) = delete;

    int port() const noexcept;  // 0: not serving

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace cqrs
