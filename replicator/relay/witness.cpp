#include "relay/witness.hpp"

#include <fmt/format.h>
#include <simdjson.h>
#include <spdlog/spdlog.h>

#include "admin/json.hpp"
#include "broker/names.hpp"
#include "broker/replica_queue.hpp"
#include "relay/wire.hpp"

namespace cqrs::relay {

using postgres::format_lsn;

namespace {

constexpr int not_found = 404, access_refused = 403;

std::string other_event(std::string_view topic, const TopicPosition& wanted) {
    return fmt::format(
        "event {} of topic {} was published with the commit at {}, which this "
        "primary does not have: it was restored to an earlier point",
        wanted.sequence, topic, format_lsn(wanted.lsn));
}

}  // namespace

std::string to_json(const Checkpoint& checkpoint) {
    JsonWriter json;
    json.begin_object()
        .member("source", checkpoint.session->source)
        .member("epoch", checkpoint.session->epoch)
        .member("lsn", format_lsn(checkpoint.lsn))
        .member("topics", to_json(*checkpoint.topics))
        .end_object();
    return json.str();
}

std::optional<Witness> parse_witness(std::string_view text) {
    try {
        simdjson::dom::parser parser;
        const simdjson::dom::element root = parser.parse(text.data(), text.size());
        Witness witness;
        witness.source = std::string(std::string_view(root["source"]));
        witness.epoch = root["epoch"].get_int64();
        witness.lsn = postgres::parse_lsn(std::string_view(root["lsn"]));
        witness.topics = topics_from_json(std::string_view(root["topics"]));
        return witness;
    } catch (const simdjson::simdjson_error&) {
        return std::nullopt;
    } catch (const std::invalid_argument&) {
        return std::nullopt;
    }
}

bool declare_witness(broker::Connection& connection, const std::string& slot,
                     broker::Silence& silence) {
    const std::string queue = broker::witness_queue_name(slot);
    broker::QueueOptions options;
    // The last one stays; who looks at it gives it back, however often.
    options.arguments = {{"x-queue-type", std::string("quorum")},
                         {"x-max-length", std::int64_t{1}},
                         {"x-delivery-limit", std::int64_t{2147483647}}};
    try {
        if (!broker::look_at_queue(connection, queue)) silence.declared();
        connection.declare_queue(queue, options);
        connection.bind_queue(queue, broker::heartbeat_exchange, broker::witness_key(slot));
        return true;
    } catch (const broker::Error& e) {
        if (e.code() != access_refused) throw;
        return false;
    }
}

std::optional<Witness> read_witness(broker::Connection& connection, const std::string& slot) {
    try {
        const auto body = connection.peek(broker::witness_queue_name(slot));
        return body ? parse_witness(*body) : std::nullopt;
    } catch (const broker::Error& e) {
        if (e.code() != not_found && e.code() != access_refused) throw;
        return std::nullopt;
    }
}

std::optional<Witness> ask_witness(const Settings& settings, broker::Silence& silence) {
    const auto connect = [&settings](std::chrono::seconds timeout) {
        return broker::Connection::open(settings.broker_url, settings.broker_cacert,
                                        "cqrs relay start", timeout);
    };
    try {
        auto connection = connect(std::chrono::seconds(3));
        auto witness = read_witness(connection, settings.slot);
        silence.answered();
        return witness;
    } catch (const broker::NoAnswer&) {
        if (!silence.for_good()) throw;
    }
    const std::string queue = broker::witness_queue_name(settings.slot);
    spdlog::warn(
        "relay: queue {} is declared and does not answer: the broker lost its log, or most of its "
        "members. It is deleted and declared anew",
        queue);
    auto connection = connect(std::chrono::seconds(10));
    connection.delete_queue(queue);
    declare_witness(connection, settings.slot, silence);
    return std::nullopt;
}

std::string contradicted(const RelayState& row, const std::string& source, const Witness& witness,
                         Lsn flushed) {
    if (witness.source != source || witness.epoch < row.epoch) return {};
    if (witness.epoch > row.epoch)
        return fmt::format(
            "the broker has seen epoch {}, relay_state knows {} only: the primary "
            "was restored to an earlier point",
            witness.epoch, row.epoch);
    if (witness.lsn > flushed)
        return fmt::format(
            "the broker has seen events up to {}, the primary's WAL ends at {}: it "
            "was restored to an earlier point",
            format_lsn(witness.lsn), format_lsn(flushed));
    for (const auto& [topic, wanted] : witness.topics) {
        const auto at = row.topics.find(topic);
        const bool missed = at == row.topics.end() || at->second.sequence < wanted.sequence;
        if (missed && witness.lsn <= row.lsn) return other_event(topic, wanted);
        if (!missed && at->second.sequence == wanted.sequence && at->second != wanted)
            return other_event(topic, wanted);
    }
    return {};
}

Recall::Recall(const RelayState& row, const Witness& witness) {
    if (witness.epoch != row.epoch || witness.lsn <= row.lsn) return;
    for (const auto& [topic, wanted] : witness.topics) {
        const auto at = row.topics.find(topic);
        if (at == row.topics.end() || at->second.sequence < wanted.sequence)
            topics_.emplace(topic, wanted);
    }
    if (!topics_.empty()) lsn_ = witness.lsn;
}

std::string Recall::check(const Frame& frame, std::int64_t before) {
    if (!pending()) return {};
    const auto wanted = frame.kind == FrameKind::events ? topics_.find(frame.topic) : topics_.end();
    if (wanted != topics_.end()) {
        std::int64_t sequence = before;
        for (const FrameCommit& commit : frame.commits) {
            sequence += commit.events;
            if (sequence < wanted->second.sequence) continue;
            if (commit.end_lsn != wanted->second.lsn || commit.time_us != wanted->second.time_us)
                return other_event(wanted->first, wanted->second);
            topics_.erase(wanted);
            break;
        }
    }
    if (!topics_.empty() && frame.safe_lsn >= lsn_)
        return other_event(topics_.begin()->first, topics_.begin()->second);
    if (topics_.empty()) lsn_ = 0;
    return {};
}

}  // namespace cqrs::relay
