// A queue that is declared and never answers. A broker that is killed within about a second of
// declaring a quorum queue forgets the queue's log, and what it had confirmed in it: the queue
// comes back without a leader and stays so (seen with RabbitMQ 4.0), until somebody deletes it.
#pragma once

#include <chrono>
#include <optional>

#include "broker/connection.hpp"

namespace cqrs::broker {

class Silence {
  public:
    using Clock = std::chrono::steady_clock;

    // It was declared now, with nothing in it.
    void declared(Clock::time_point now = Clock::now()) noexcept {
        declared_ = now;
        answered();
    }
    void answered() noexcept {
        last_.reset();
        given_up_ = false;
    }

    // It did not answer, on a connection that answers (NoAnswer). True: it never will, as far as
    // one can tell. A queue that has lost the majority of its members for a while looks the same,
    // hence the patience with one that is not new; a broker that hangs gives no such answers in
    // between.
    bool for_good(Clock::time_point now = Clock::now()) noexcept {
        const bool again = last_ && now - *last_ < together;
        if (!again) since_ = now;
        last_ = now;
        if (young(now) ? again : now - since_ >= patience) given_up_ = true;
        return given_up_;
    }

    bool young(Clock::time_point now = Clock::now()) const noexcept {
        return declared_ && now - *declared_ < youth;
    }

  private:
    static constexpr std::chrono::seconds together{60}, patience{60}, youth{120};
    Clock::time_point since_{};
    std::optional<Clock::time_point> declared_, last_;
    bool given_up_ = false;
};

}  // namespace cqrs::broker
