// What the relay's heartbeats say, for every worker: how far the primary's WAL has been read and
// which event of each topic was the last one up to there.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "apply/companion.hpp"
#include "config.hpp"
#include "wakeup.hpp"

namespace cqrs::apply {

struct Heartbeat {
    std::uint64_t number = 0;  // counts those received here
    std::string source;
    std::int64_t epoch = 0;
    std::uint64_t lsn = 0;
    std::string time;  // RFC 3339: all that was committed before is up to lsn
    std::chrono::steady_clock::time_point received;
    struct Topic {
        std::int64_t sequence = 0;
        std::uint64_t lsn = 0;
    };
    std::map<std::string, Topic, std::less<>> topics;

    Topic topic(const std::string& name) const {
        const auto it = topics.find(name);
        return it == topics.end() ? Topic{} : it->second;
    }
};

// nullopt when it is not a heartbeat of the form that ARCHITECTURE.md describes.
std::optional<Heartbeat> parse_heartbeat(std::string_view body);

class Heartbeats {
  public:
    explicit Heartbeats(const Settings& settings);
    Companion& thread() noexcept { return thread_; }
    std::shared_ptr<const Heartbeat> last() const;   // null: none yet
    Wakeup& arrived() noexcept { return arrived_; }  // for one thread: last() is another

  private:
    void consume();

    const Settings& settings_;
    Wakeup arrived_;
    mutable std::mutex mutex_;
    std::shared_ptr<const Heartbeat> last_;
    std::uint64_t count_ = 0;
    Companion thread_;  // last: it ends before what it uses
};

}  // namespace cqrs::apply
