#include "rebuild/replay.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <deque>
#include <memory>

#include "apply/writer.hpp"
#include "history/order.hpp"
#include "history/reader.hpp"

namespace cqrs::rebuild {

namespace {

using namespace std::chrono_literals;
using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

constexpr const char* connection_name = "cqrs rebuild";
constexpr std::size_t batch_events = 10'000, batch_bytes = 8 * 1024 * 1024;
constexpr auto patience = 60s;  // for what the replica has applied, so the broker had it
constexpr auto say_every = 5s;

class Replay {
  public:
    Replay(Connection& replica, apply::Handlers& handlers, const apply::Position& position,
           const Rows& rows)
        : replica_(replica),
          handlers_(handlers),
          position_(position),
          rows_(rows),
          decoder_(no_tables_, &handlers) {}

    // False: the replica's position is reached.
    bool take(history::Entry&& entry) {
        if (entry.head.epoch != *position_.epoch)
            throw Incomplete(
                fmt::format("it holds epoch {} beside {}", entry.head.epoch, *position_.epoch));
        const auto step = order_.take(entry.head);
        if (step.from == 0) return true;
        if (step.missing)
            throw Incomplete(
                fmt::format("events {} to {} are missing in it", step.missing, step.from - 1));
        auto message = std::make_unique<apply::Message>();
        message->head = entry.head;
        message->body = std::move(entry.body);
        try {
            decoder_.decode(*message, step.from);
        } catch (const apply::Refused& e) {
            throw Incomplete(fmt::format("the message with event {} is not understood: {}",
                                         entry.head.sequence, e.what()));
        }
        bool keep = false;
        for (const apply::Event& event : message->events) {
            if (event.sequence > *position_.sequence) break;
            ++report_.events;
            count(event);
            if (!event.handlers) continue;
            if (handlers_.order(event))
                throw Incomplete(fmt::format("event {} ({}): rows changed without events", event.id,
                                             event.type));
            pending_.push_back(&event);
            keep = true;
        }
        if (keep) {
            bytes_ += message->bytes();
            messages_.push_back(std::move(message));
        }
        if (pending_.size() >= batch_events || bytes_ >= batch_bytes) flush();
        return order_.last() < *position_.sequence;
    }

    // What waits is given to the handlers. An error is looked for event by event, so that it is
    // named.
    void flush() {
        if (pending_.empty()) return;
        replica_.exec("SAVEPOINT batch");
        try {
            handlers_.call(replica_, pending_, false);
        } catch (const Error& e) {
            if (e.remedy() != Remedy::stop) throw;
            replica_.exec("ROLLBACK TO SAVEPOINT batch");
            one_by_one();
        }
        replica_.exec("RELEASE SAVEPOINT batch");
        report_.given += static_cast<std::int64_t>(pending_.size());
        pending_.clear();
        messages_.clear();
        bytes_ = 0;
    }

    // Everything was read: does it come to what the tables hold?
    void check() const {
        if (report_.events != *position_.sequence)
            throw Incomplete(
                fmt::format("{} events were read, not {}", report_.events, *position_.sequence));
        for (const auto& [prefix, rows] : rows_)
            if (const auto it = counted_.find(prefix);
                (it == counted_.end() ? 0 : it->second) != rows)
                throw Incomplete(fmt::format(
                    "it comes to {} rows of {}, the primary has {}: some were there before the "
                    "relay first ran",
                    it == counted_.end() ? 0 : it->second, prefix, rows));
    }

    const Replayed& report() const { return report_; }

  private:
    void count(const apply::Event& event) {
        if (!rows_.contains(event.prefix)) return;
        auto& rows = counted_[std::string(event.prefix)];
        switch (apply::row_verb(event)) {
            case apply::Verb::create:
                ++rows;
                break;
            case apply::Verb::remove:
                --rows;
                break;
            case apply::Verb::truncate:
                rows = 0;
                break;
            default:
                break;
        }
    }

    void one_by_one() {
        try {
            handlers_.call(replica_, pending_, true);
        } catch (const apply::WriteError& e) {
            throw Error(Remedy::stop, e.cause.sqlstate(), apply::describe(e));
        }
    }

    Connection& replica_;
    apply::Handlers& handlers_;
    const apply::Position& position_;
    const Rows& rows_;
    Rows counted_;
    const std::vector<apply::Table> no_tables_;
    apply::Decoder decoder_;
    history::Order order_;
    std::deque<std::unique_ptr<apply::Message>> messages_;  // what pending_ points into
    std::vector<const apply::Event*> pending_;
    std::size_t bytes_ = 0;
    Replayed report_;
};

}  // namespace

void check_reach(const Settings& settings, Connection& primary, const std::string& topic,
                 const apply::Position& position) {
    const auto row = primary.query("SELECT epoch, reason FROM cqrs.relay_state WHERE slot = $1",
                                   {settings.slot});
    if (row.rows() == 0 || row.get_int(0, 0) != *position.epoch)
        throw Incomplete("the relay counts in another epoch than the replica");
    // What was committed before this numbering began is not in it.
    if (!row.get(0, 1).empty())
        throw Incomplete(fmt::format("a new epoch began: {}", row.get(0, 1)));
    try {
        const auto first = history::oldest(settings, topic, connection_name);
        if (!first && *position.sequence == 0) return;
        if (!first) throw Incomplete("the history holds nothing");
        if (first->head.epoch != *position.epoch || first->head.sequence != 1)
            throw Incomplete(fmt::format("the history begins with event {}", first->head.sequence));
    } catch (const history::NotKept& e) {
        throw Incomplete(e.what());
    }
}

Replayed replay(const Settings& settings, Connection& replica, const std::string& topic,
                apply::Handlers& handlers, const apply::Position& position, const Rows& rows,
                const Stop& stop) {
    Replay replay(replica, handlers, position, rows);
    if (*position.sequence == 0) {
        replay.check();
        return replay.report();
    }
    history::Reader reader(settings, topic, connection_name);
    reader.from_first();
    auto moved = std::chrono::steady_clock::now(), said = moved;
    for (;;) {
        if (stop.requested()) throw Error(Remedy::retry, "57014", "interrupted");
        auto entry = reader.next(200ms);
        const auto now = std::chrono::steady_clock::now();
        if (entry) {
            moved = now;
            if (!replay.take(std::move(*entry))) break;
        } else if (now - moved > patience) {
            throw Incomplete(fmt::format("it ends with event {}", replay.report().events));
        }
        if (now - said > say_every) {
            said = now;
            spdlog::info("rebuild: {}: {} of {} events", topic, replay.report().events,
                         *position.sequence);
        }
    }
    replay.flush();
    replay.check();
    return replay.report();
}

}  // namespace cqrs::rebuild
