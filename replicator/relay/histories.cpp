#include "relay/histories.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "broker/connection.hpp"
#include "broker/names.hpp"
#include "broker/replica_queue.hpp"

namespace cqrs::relay {

namespace {

using namespace std::chrono_literals;

constexpr auto retry_after = 5s;  // also a broker that has just started may not have it yet
constexpr auto patience = 2s;     // publishing waits for it, and so does the end of the relay
constexpr int exists_otherwise = 406;

// Limits take effect a segment at a time: small enough for that, large enough to be few.
constexpr std::int64_t least_segment = 500'000, most_segment = 100'000'000;

broker::QueueOptions stream_options(const Retention::Topic& topic) {
    broker::QueueOptions options;
    const std::int64_t segment = topic.max_bytes
                                     ? std::clamp(*topic.max_bytes / 8, least_segment, most_segment)
                                     : most_segment;
    options.arguments = {{"x-queue-type", std::string("stream")},
                         {"x-stream-max-segment-size-bytes", segment}};
    if (topic.max_age_s)
        options.arguments.emplace("x-max-age", std::to_string(*topic.max_age_s) + "s");
    if (topic.max_bytes) options.arguments.emplace("x-max-length-bytes", *topic.max_bytes);
    return options;
}

HistoryState declare(broker::Connection& connection, const std::string& topic,
                     const Retention::Topic& wanted) {
    HistoryState state{topic, HistoryState::Kind::kept, {}, {}};
    const std::string name = broker::history_name(topic);
    if (!broker::look_at_queue(connection, name)) state.since = wanted.next;
    auto options = stream_options(wanted);
    try {
        connection.declare_queue(name, options);
    } catch (const broker::Error& e) {
        // Also said of a queue that is none, and by a broker that does not know streams.
        if (e.code() != exists_otherwise || state.since ||
            std::string_view(e.what()).find("x-queue-type") != std::string_view::npos)
            throw;
        state.error = name + " was declared with other limits, which it keeps";
    }
    connection.bind_queue(name, broker::event_exchange, topic + ".#");
    return state;
}

}  // namespace

void Histories::want(Retention retention) {
    wanted_ = std::move(retention);
    due_ = true;
}

std::vector<HistoryState> Histories::carry_out() {
    if (failed_ && Clock::now() - tried_ > retry_after) due_ = true;
    if (!std::exchange(due_, false)) return {};
    tried_ = Clock::now();
    failed_ = false;
    std::optional<broker::Connection> connection;
    for (const auto& [topic, wanted] : wanted_.topics) {
        try {
            if (!connection)
                connection.emplace(broker::Connection::open(settings_.broker_url,
                                                            settings_.broker_cacert,
                                                            "cqrs relay histories", patience));
            if (!wanted.forget) {
                settle(declare(*connection, topic, wanted));
            } else {
                connection->delete_queue(broker::history_name(topic));  // fine if there is none
                settle({topic, HistoryState::Kind::forgotten, {}, {}});
            }
        } catch (const broker::Error& e) {
            settle({topic, HistoryState::Kind::failed, {}, e.what()});
            failed_ = true;
            if (e.code() == 0) break;  // a broker that does not answer: not once for each topic
            if (e.code() >= 500) connection.reset();  // it closed the connection, not the channel
        }
    }
    std::string failures;
    for (const auto& [topic, wanted] : wanted_.topics)
        if (const auto it = states_.find(topic);
            it != states_.end() && it->second.kind == HistoryState::Kind::failed)
            failures += (failures.empty() ? "" : "; ") + topic + ": " + it->second.error;
    health_.note("relay.history_failed", failures);
    return std::exchange(news_, {});
}

// Each only once: the log and the primary hear of changes.
void Histories::settle(HistoryState state) {
    const auto known = states_.find(state.topic);
    if (known != states_.end() && !state.since && known->second.kind == state.kind &&
        known->second.error == state.error)
        return;
    switch (state.kind) {
        case HistoryState::Kind::kept:
            spdlog::info("relay: the events of topic {} are kept in {}{}", state.topic,
                         broker::history_name(state.topic),
                         state.error.empty() ? "" : ": " + state.error);
            break;
        case HistoryState::Kind::failed:
            spdlog::warn("relay: the events of topic {} are not kept: {}; trying again",
                         state.topic, state.error);
            break;
        case HistoryState::Kind::forgotten:
            spdlog::info("relay: the history of topic {} is deleted", state.topic);
            break;
    }
    news_.push_back(state);
    if (state.kind == HistoryState::Kind::forgotten)
        states_.erase(state.topic);
    else
        states_.insert_or_assign(state.topic, std::move(state));
}

}  // namespace cqrs::relay
