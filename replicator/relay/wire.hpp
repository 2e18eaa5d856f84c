// The relay's messages as RabbitMQ sees them. Formats: ARCHITECTURE.md, "The message".
#pragma once

#include <string>
#include <string_view>

#include "broker/connection.hpp"
#include "relay/types.hpp"

namespace cqrs::relay {

broker::Properties properties_of(const Message& message);

// "<source>:<epoch>:<topic>:<sequence>", at most 255 bytes: a long source is hashed.
std::string message_id(const Session& session, std::string_view topic, std::int64_t sequence);

std::string heartbeat_body(const Checkpoint& checkpoint);

// relay_state.topics, and back. Throws std::invalid_argument.
std::string to_json(const TopicPositions& positions);
TopicPositions topics_from_json(std::string_view json);

// "/<database, percent-encoded>/<system identifier>/<timeline>"
std::string make_source(std::string_view database, std::string_view system_identifier,
                        std::string_view timeline);

}  // namespace cqrs::relay
