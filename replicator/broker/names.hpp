// Every name that stands on the wire of RabbitMQ. Formats: ARCHITECTURE.md, "The message".
#pragma once

#include <string>

namespace cqrs::broker {

inline constexpr const char* event_exchange = "CQRS_EVENT_STORE";  // topic, durable
inline constexpr const char* heartbeat_exchange =
    "CQRS_HEARTBEAT";  // topic, durable; key: "heartbeat"
inline constexpr const char* heartbeat_key = "heartbeat";
// The relay's last checkpoint, one message; through the heartbeat exchange (relay/witness.hpp).
inline std::string witness_queue_name(const std::string& slot) {
    return "CQRS_RELAY_STATE." + slot;
}
inline std::string witness_key(const std::string& slot) {
    return "state." + slot;
}
// A stream per topic that cqrs.retain() names; no replica's queue can have such a name.
inline std::string history_name(const std::string& topic) {
    return "CQRS_HISTORY." + topic;
}
inline constexpr const char* report_exchange =
    "CQRS_REPLICAS";  // topic, durable; appliers tell the relay their positions; key: the replica
inline constexpr const char* batch_content_type = "application/cloudevents-batch+json";

inline constexpr const char* header_source = "cqrs-source";      // longstr
inline constexpr const char* header_epoch = "cqrs-epoch";        // int64
inline constexpr const char* header_topic = "cqrs-topic";        // longstr
inline constexpr const char* header_sequence = "cqrs-sequence";  // int64, of the first event
inline constexpr const char* header_count = "cqrs-count";        // int64
inline constexpr const char* header_lsn = "cqrs-lsn";  // longstr, end LSN of the last commit in it
inline constexpr const char* header_previous =
    "cqrs-previous-lsn";  // longstr, end LSN of the commit of event
                          // sequence - 1 of this topic; "0/0" if none
inline constexpr const char* header_more = "cqrs-more";  // bool
inline constexpr const char* header_committed =
    "cqrs-committed";  // int64, commit time of the last commit, us since 1970

inline std::string queue_name(const std::string& replica, const std::string& topic) {
    return "cqrs." + replica + "." + topic;
}
inline std::string heartbeat_queue_name(const std::string& replica) {
    return "cqrs." + replica + ".heartbeat";  // a topic named "heartbeat" is refused by publish()
}

inline std::string report_queue_name(const std::string& slot) {
    return "cqrs.relay." + slot;
}

}  // namespace cqrs::broker
