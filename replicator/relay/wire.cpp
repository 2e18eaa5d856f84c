#include "relay/wire.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <ctime>
#include <stdexcept>

#include "admin/json.hpp"
#include "broker/names.hpp"
#include "postgres/connection.hpp"

namespace cqrs::relay {

namespace {

std::string rfc3339(std::int64_t us) {
    const std::time_t seconds = static_cast<std::time_t>(us / 1'000'000);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(seconds), us % 1'000'000);
}

// FNV-1a.
std::uint64_t hash(std::string_view text) {
    std::uint64_t h = 0xcbf29ce484222325;
    for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return h;
}

}  // namespace

std::string message_id(const Session& session, std::string_view topic, std::int64_t sequence) {
    std::string id = fmt::format("{}:{}:{}:{}", session.source, session.epoch, topic, sequence);
    if (id.size() > 255)
        id = fmt::format("{:016x}:{}:{}:{}", hash(session.source), session.epoch, topic, sequence);
    return id;
}

broker::Properties properties_of(const Message& m) {
    broker::Properties p;
    p.content_type = broker::batch_content_type;
    p.message_id = message_id(*m.session, m.topic, m.sequence);
    p.timestamp = static_cast<std::uint64_t>(m.committed_us / 1'000'000);
    p.headers = {{broker::header_source, m.session->source},
                 {broker::header_epoch, m.session->epoch},
                 {broker::header_topic, m.topic},
                 {broker::header_sequence, m.sequence},
                 {broker::header_count, m.count},
                 {broker::header_lsn, postgres::format_lsn(m.lsn)},
                 {broker::header_previous, postgres::format_lsn(m.previous_lsn)},
                 {broker::header_more, m.more},
                 {broker::header_committed, m.committed_us}};
    if (!m.other_types.empty()) p.headers.emplace("CC", m.other_types);
    return p;
}

std::string heartbeat_body(const Checkpoint& checkpoint) {
    JsonWriter json;
    json.begin_object()
        .member("source", checkpoint.session->source)
        .member("epoch", checkpoint.session->epoch)
        .member("lsn", postgres::format_lsn(checkpoint.lsn))
        .member("time", rfc3339(checkpoint.time_us))
        .key("topics")
        .begin_object();
    for (const auto& [topic, position] : *checkpoint.topics)
        json.key(topic)
            .begin_object()
            .member("sequence", position.sequence)
            .member("lsn", postgres::format_lsn(position.lsn))
            .end_object();
    json.end_object().end_object();
    return json.str();
}

std::string to_json(const TopicPositions& positions) {
    JsonWriter json;
    json.begin_object();
    for (const auto& [topic, position] : positions)
        json.key(topic)
            .begin_object()
            .member("sequence", position.sequence)
            .member("lsn", postgres::format_lsn(position.lsn))
            .member("time", position.time_us)
            .end_object();
    json.end_object();
    return json.str();
}

TopicPositions topics_from_json(std::string_view text) {
    TopicPositions positions;
    try {
        simdjson::dom::parser parser;
        const simdjson::dom::object topics = parser.parse(text.data(), text.size());
        for (const auto [topic, value] : topics) {
            TopicPosition position;
            position.sequence = value["sequence"].get_int64();
            position.lsn = postgres::parse_lsn(std::string_view(value["lsn"]));
            position.time_us = value["time"].get_int64();
            positions.emplace(std::string(topic), position);
        }
    } catch (const simdjson::simdjson_error& e) {
        throw std::invalid_argument(std::string("cqrs.relay_state.topics: ") + e.what());
    }
    return positions;
}

std::string make_source(std::string_view database, std::string_view system_identifier,
                        std::string_view timeline) {
    std::string encoded;
    for (const char c : database) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
        if (plain)
            encoded += c;
        else
            encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return fmt::format("/{}/{}/{}", encoded, system_identifier, timeline);
}

}  // namespace cqrs::relay
