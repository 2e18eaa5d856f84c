// A topic's stream on the broker (cqrs.retain()), read in order from some place on. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "apply/message.hpp"
#include "broker/connection.hpp"
#include "config.hpp"

namespace cqrs::history {

// There is no such stream, or it does not reach back far enough: the text says what there is.
struct NotKept : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Entry {
    std::int64_t offset = 0;
    apply::MessageHead head;
    std::string body;  // not compressed
};

class Reader {
  public:
    // Throws NotKept, broker::Error.
    Reader(const Settings& settings, const std::string& topic, const std::string& connection_name);

    // Each begins to deliver from there; once per Reader.
    void from_first() { consume(std::string("first")); }
    void from_last() { consume(std::string("last")); }  // the last few messages
    void from_offset(std::int64_t offset) { consume(offset); }
    // What the broker took at that time or later, and a little of before.
    void from_time(std::int64_t us);

    // Waits at most so long; nullopt: nothing came. Messages that are none of ours are left out,
    // with a warning. Throws broker::Error; NotKept when the stream is deleted.
    std::optional<Entry> next(std::chrono::milliseconds timeout);

    const broker::Connection& connection() const { return connection_; }

  private:
    void consume(const broker::HeaderValue& offset);

    const std::string topic_, queue_;
    broker::Connection connection_;
    std::uint64_t unacknowledged_ = 0;
};

// The first message that is kept, and one of the last; nullopt: the stream is empty.
std::optional<Entry> oldest(const Settings& settings, const std::string& topic,
                            const std::string& connection_name);
std::optional<Entry> newest(const Settings& settings, const std::string& topic,
                            const std::string& connection_name);

}  // namespace cqrs::history
