#include "history/reader.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <string_view>

#include "broker/compression.hpp"
#include "broker/names.hpp"

namespace cqrs::history {

namespace {

using namespace std::chrono_literals;

constexpr int window = 256, not_found = 404;
constexpr std::uint64_t acknowledge_every = 64;
// The broker's clock against the primary's.
constexpr std::int64_t clocks_apart = 60;
// After so long without a message the stream is empty.
constexpr auto patience = 5s;
constexpr const char* offset_header = "x-stream-offset";

// The first that comes. The broker's count of a stream's messages lags behind: 0 says little.
std::optional<Entry> one(Reader&& reader) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (std::chrono::steady_clock::now() < deadline)
        if (auto entry = reader.next(200ms)) return entry;
    return std::nullopt;
}

}  // namespace

Reader::Reader(const Settings& settings, const std::string& topic,
               const std::string& connection_name)
    : topic_(topic),
      queue_(broker::history_name(topic)),
      connection_(
          broker::Connection::open(settings.broker_url, settings.broker_cacert, connection_name)) {
    broker::QueueOptions passive;
    passive.passive = true;
    try {
        connection_.declare_queue(queue_, passive);
    } catch (const broker::Error& e) {
        // Of a broker that has just started the same code says that it is not there yet.
        if (e.code() != not_found ||
            std::string_view(e.what()).find("inaccessible") != std::string_view::npos)
            throw;
        throw NotKept(fmt::format(
            "the events of topic {} are not kept: the broker has no stream {}. On the primary: "
            "SELECT cqrs.retain('{}', max_age => '7 days'); keeps them from then on",
            topic, queue_, topic));
    }
}

void Reader::consume(const broker::HeaderValue& offset) {
    connection_.consume(queue_, window, false, false, {{offset_header, offset}});
}

void Reader::from_time(std::int64_t us) {
    const std::int64_t seconds = std::max<std::int64_t>(us / 1'000'000 - clocks_apart, 0);
    consume(broker::Timestamp{static_cast<std::uint64_t>(seconds)});
}

std::optional<Entry> Reader::next(std::chrono::milliseconds timeout) {
    while (auto event = connection_.next(timeout)) {
        if (std::holds_alternative<broker::Cancelled>(*event))
            throw NotKept(fmt::format("stream {} was deleted", queue_));
        auto* delivery = std::get_if<broker::Delivery>(&*event);
        if (!delivery) continue;
        if (++unacknowledged_ >= acknowledge_every) {
            connection_.ack(delivery->tag, true);
            unacknowledged_ = 0;
        }
        try {
            Entry entry;
            entry.head = apply::read_head(delivery->properties.headers);
            if (entry.head.topic != topic_) throw apply::Refused("it is of another topic");
            const auto offset = delivery->properties.headers.find(offset_header);
            if (offset != delivery->properties.headers.end())
                if (const auto* n = std::get_if<std::int64_t>(&offset->second)) entry.offset = *n;
            entry.body = broker::decoded_body(delivery->properties.content_encoding,
                                              std::move(delivery->body));
            return entry;
        } catch (const apply::Refused& e) {
            spdlog::warn("{}: message {} is left out: {}", queue_, delivery->properties.message_id,
                         e.what());
        } catch (const std::invalid_argument& e) {
            spdlog::warn("{}: message {} is left out: {}", queue_, delivery->properties.message_id,
                         e.what());
        }
    }
    return std::nullopt;
}

std::optional<Entry> oldest(const Settings& settings, const std::string& topic,
                            const std::string& connection_name) {
    Reader reader(settings, topic, connection_name);
    reader.from_first();
    return one(std::move(reader));
}

std::optional<Entry> newest(const Settings& settings, const std::string& topic,
                            const std::string& connection_name) {
    Reader reader(settings, topic, connection_name);
    reader.from_last();
    return one(std::move(reader));
}

}  // namespace cqrs::history
