// Frames in, messages out: numbers the events of each topic and cuts them into AMQP messages.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "relay/types.hpp"

namespace cqrs::relay {

struct BatchLimits {
    std::size_t batch_bytes = 65536;  // a message closes here; up to half more saves a cut
    std::size_t max_batch = 0;        // events; 0: no limit
    std::size_t max_message_bytes = 15 * 1024 * 1024;  // never more, unless one event is larger
};

class Batcher {
  public:
    // start: the topics' last events before the stream begins (relay_state).
    Batcher(BatchLimits limits, SessionPtr session, TopicPositions start);

    // Appends the messages that are full to `out`; the rest stays open until flush(). Frames of a
    // topic merge.
    void add(const Frame& frame, std::deque<Message>& out);
    void flush(std::deque<Message>& out);

    bool empty() const { return open_bytes_ == 0; }
    std::size_t open_bytes() const { return open_bytes_; }
    const TopicPositions& positions() const { return positions_; }
    // The next event of the topic gets this number plus one.
    std::int64_t sequence(std::string_view topic) const;

  private:
    void append(Message& open, const Frame& frame, std::size_t begin, std::size_t end);
    std::size_t fitting(const Message& open, const Frame& frame, std::size_t begin) const;
    void close(Message& open, std::deque<Message>& out);

    BatchLimits limits_;
    SessionPtr session_;
    TopicPositions positions_;
    std::map<std::string, Message, std::less<>> open_;  // count == 0: closed
    std::size_t open_bytes_ = 0;
    std::vector<char> type_seen_;  // by the open message, per type of the current frame
};

}  // namespace cqrs::relay
