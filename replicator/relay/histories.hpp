// Streams of the topics that cqrs.retain() names, declared and deleted on the broker. What fails is
// said and tried again; nothing of the relay waits for it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "admin/health.hpp"
#include "config.hpp"
#include "relay/types.hpp"

namespace cqrs::relay {

// The publisher's: uses a connection of its own, since what the broker refuses closes a channel.
class Histories {
  public:
    Histories(const Settings& settings, Health& health) : settings_(settings), health_(health) {}

    void want(Retention retention);
    // Declares what is wanted if it was not done yet on this connection of the relay, or failed
    // some time ago. Returns what changed.
    std::vector<HistoryState> carry_out();
    void broker_changed() { due_ = true; }  // another connection: perhaps another broker

  private:
    void settle(HistoryState state);

    const Settings& settings_;
    Health& health_;
    Retention wanted_;
    bool due_ = false;
    Clock::time_point tried_{};
    std::map<std::string, HistoryState> states_;  // as last told
    std::vector<HistoryState> news_;
    bool failed_ = false;
};

}  // namespace cqrs::relay
