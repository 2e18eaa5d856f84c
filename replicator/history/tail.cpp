#include "history/tail.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <vector>

#include "admin/events.hpp"
#include "admin/tail_loop.hpp"
#include "apply/handlers.hpp"
#include "history/order.hpp"
#include "history/reader.hpp"

namespace cqrs::history {

namespace {

using namespace std::chrono_literals;

constexpr const char* name = "cqrs-replicator tail";

// Streams are found by topic: a pattern has to begin with one.
std::set<std::string> topics_of(const Settings& settings) {
    std::set<std::string> topics;
    for (const std::string& pattern : settings.types) {
        const std::string topic = pattern.substr(0, pattern.find('.'));
        if (topic.empty() || topic == "*" || topic == "#")
            throw ConfigError(
                "tail --from needs patterns that begin with a topic: cqrs-replicator tail --from "
                "1 'parking.#'");
        topics.insert(topic);
    }
    if (topics.size() > 1 && settings.from->kind == From::Kind::sequence)
        throw ConfigError(
            "tail --from SEQUENCE: each topic has numbers of its own; give patterns of one topic, "
            "or a time");
    return topics;
}

// One topic's stream, from the place asked for on, over lost connections.
class Follower {
  public:
    Follower(const Settings& settings, const std::string& topic)
        : settings_(settings), topic_(topic), from_(*settings.from) {}

    // Throws NotKept, broker::Error.
    void connect() {
        reader_.reset();
        if (offset_) {
            reader_.emplace(settings_, topic_, name);
            return reader_->from_offset(*offset_ + 1);
        }
        begin();
    }

    // False: nothing has come.
    bool print(Printer& printer) {
        auto entry = reader_->next(0ms);
        if (!entry) return false;
        offset_ = entry->offset;
        if (entry->head.epoch < begin_epoch_) return true;
        const bool first = order_.epoch() == 0;
        const Order::Step step = order_.take(entry->head);
        if (first && from_.kind == From::Kind::sequence) check_reach(*entry);
        if (step.from == 0) return true;
        if (step.epoch_began)
            spdlog::info("tail: topic {}: a new epoch began ({})", topic_, entry->head.epoch);
        if (step.missing)
            spdlog::warn("tail: topic {}: events {} to {} are missing in the history", topic_,
                         step.missing, step.from - 1);
        std::int64_t sequence = entry->head.sequence;
        try {
            for_each_event(entry->body, [&](std::string_view event) {
                if (sequence >= step.from && wanted(event, sequence, entry->head.epoch))
                    printer.print(event);
                ++sequence;
            });
        } catch (const std::invalid_argument& e) {
            spdlog::warn("tail: event {} of topic {}: {}", sequence, topic_, e.what());
        }
        return true;
    }

    const broker::Connection& connection() const { return reader_->connection(); }
    const std::string& topic() const { return topic_; }

  private:
    void begin() {
        switch (from_.kind) {
            case From::Kind::oldest:
                reader_.emplace(settings_, topic_, name);
                return reader_->from_first();
            case From::Kind::sequence:
                // Of the numbering in force.
                if (const auto last = newest(settings_, topic_, name))
                    begin_epoch_ = last->head.epoch;
                reader_.emplace(settings_, topic_, name);
                return reader_->from_first();
            case From::Kind::time:
                if (const auto first = oldest(settings_, topic_, name)) check_reach(*first);
                reader_.emplace(settings_, topic_, name);
                return reader_->from_time(from_.value);
        }
    }

    // Of the first message that there is.
    void check_reach(const Entry& first) const {
        std::string time;
        for_each_event(first.body, [&](std::string_view event) {
            if (time.empty()) time = read_event_head(event).time;
        });
        const bool reaches = from_.kind == From::Kind::sequence
                                 ? first.head.sequence <= from_.value
                                 : time <= format_time(from_.value) || first.head.sequence == 1;
        if (!reaches)
            throw NotKept(fmt::format(
                "the history of topic {} begins with event {} of {}; tail --from oldest prints all "
                "that is kept",
                topic_, first.head.sequence, time));
    }

    bool wanted(std::string_view event, std::int64_t sequence, std::int64_t epoch) const {
        if (from_.kind == From::Kind::sequence && sequence < from_.value &&
            (begin_epoch_ == 0 || epoch == begin_epoch_))
            return false;
        const EventHead head = read_event_head(event);
        if (from_.kind == From::Kind::time && head.time < format_time(from_.value)) return false;
        return std::any_of(
            settings_.types.begin(), settings_.types.end(),
            [&](const std::string& pattern) { return apply::matches(pattern, head.type); });
    }

    const Settings& settings_;
    const std::string topic_;
    const From from_;
    std::optional<Reader> reader_;
    Order order_;
    std::optional<std::int64_t> offset_;  // of the last message
    std::int64_t begin_epoch_ = 0;
};

void follow(std::vector<Follower>& followers, Stop& stop, Printer& printer) {
    while (!stop.requested() && !printer.done()) {
        bool any = false;
        for (Follower& f : followers)
            for (int i = 0; i < 100 && !printer.done() && f.print(printer); ++i) any = true;
        if (any) continue;
        printer.flush();
        std::vector<pollfd> fds{{stop.fd(), POLLIN, 0}};
        bool buffered = false;
        for (const Follower& f : followers) {
            fds.push_back({f.connection().socket(), POLLIN, 0});
            buffered |= f.connection().buffered();
        }
        if (!buffered) poll(fds.data(), fds.size(), 1000);
    }
    printer.flush();
}

}  // namespace

int tail(const Settings& settings, Stop& stop, Printer& printer) {
    std::vector<Follower> followers;
    for (const std::string& topic : topics_of(settings)) followers.emplace_back(settings, topic);
    try {
        return tail_loop({.connect =
                              [&] {
                                  for (Follower& f : followers) f.connect();
                                  return followers.front().connection().host();
                              },
                          .follow = [&] { follow(followers, stop, printer); },
                          .connected = "reading what the broker has kept, from",
                          .again = ", where it was interrupted"},
                         stop, printer);
    } catch (const NotKept& e) {
        printer.flush();
        spdlog::error("tail: {}", e.what());
        return 1;
    }
}

}  // namespace cqrs::history
