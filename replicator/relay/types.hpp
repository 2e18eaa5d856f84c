// What travels through the relay: from the replication stream to the broker, and back as progress.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frame.hpp"

namespace cqrs::relay {

using Clock = std::chrono::steady_clock;

// The last event of a topic.
struct TopicPosition {
    std::int64_t sequence = 0;
    Lsn lsn = 0;               // end LSN of its commit; 0: none in this epoch
    std::int64_t time_us = 0;  // commit time, microseconds since 1970
    bool operator==(const TopicPosition&) const = default;
};
using TopicPositions = std::map<std::string, TopicPosition, std::less<>>;

// One run of the replication stream. What was read in an earlier one is dropped: the stream starts
// again at relay_state and brings it back.
struct Session {
    std::string source;  // "/db/system identifier/timeline"
    std::int64_t epoch = 0;
};
using SessionPtr = std::shared_ptr<const Session>;

// One AMQP message: events of one topic, consecutive.
struct Message {
    SessionPtr session;
    std::string topic;
    std::string routing_key;               // type of the first event
    std::vector<std::string> other_types;  // the further distinct types
    std::int64_t sequence = 0;             // of the first event
    std::int64_t count = 0;
    Lsn lsn = 0;           // end LSN of the last commit in it
    Lsn previous_lsn = 0;  // end LSN of the commit of event sequence - 1; 0: none
    std::int64_t committed_us = 0;
    bool more = false;  // the last commit goes on in the topic's next message
    std::string body;   // "[...]"
    Clock::time_point ready{};
};

// Everything that the stream brought up to lsn stands in the messages before it.
struct Checkpoint {
    SessionPtr session;
    Lsn lsn = 0;
    std::int64_t time_us = 0;  // all that the primary committed before this moment is up to lsn
    std::shared_ptr<const TopicPositions> topics;
    bool heartbeat = false;  // tell the replicas
    bool witness = false;    // and leave it with the broker (relay/witness.hpp)
    bool last = false;       // at once: the relay ends, nothing follows
};

// cqrs.retention_status, as the relay last saw it.
struct Retention {
    struct Topic {
        std::optional<std::int64_t> max_age_s, max_bytes;
        bool forget = false;                         // its stream is to go
        std::int64_t next = 1;                       // the sequence of the next event
        bool operator==(const Topic& other) const {  // as wished for
            return max_age_s == other.max_age_s && max_bytes == other.max_bytes &&
                   forget == other.forget;
        }
    };
    std::map<std::string, Topic> topics;
    bool operator==(const Retention&) const = default;
};

// What came of it, for cqrs.retention_state.
struct HistoryState {
    std::string topic;
    enum class Kind { kept, failed, forgotten } kind = Kind::kept;
    std::optional<std::int64_t> since;  // set when the stream was not there before
    std::string error;
    bool operator==(const HistoryState&) const = default;
};

}  // namespace cqrs::relay
