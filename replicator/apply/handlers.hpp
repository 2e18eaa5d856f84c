// Handlers: functions of the replica that are called with a topic's events (cqrs.on()), in the
// transaction that moves the position. One session's view of them; cqrs.handler can change at any
// time, which begin_advance() notices by version().
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "apply/event.hpp"
#include "postgres/connection.hpp"

namespace cqrs::apply {

// As RabbitMQ matches a routing key: * is one word, # any number of words.
bool matches(std::string_view pattern, std::string_view type);

// What an event of a table says, whether the table is subscribed to or not.
Verb row_verb(const Event& event);

struct Registration {
    std::string pattern;
    std::size_t function = 0;  // index of Handlers::functions()
    bool backfill = false;
    enum class State : std::uint8_t { pending, live, stopped } state = State::pending;
    // Rows of these prefixes, as of that LSN, were given to it as events.
    std::vector<std::string> prefixes;
    std::uint64_t snapshot_lsn = 0;

    // Whether the event is one of the rows that its backfill held.
    bool covers(const Event& event) const;
};

class Handlers {
  public:
    struct Function {
        std::string signature, name;
        bool operator==(const Function&) const = default;
    };

    // begun: the topic has a position; handlers that are new begin with what is applied from now
    // on.
    void load(postgres::Connection& connection, const std::string& topic, bool begun);
    bool empty() const { return registrations_.empty(); }
    bool pending() const;  // a backfill is to be made
    const std::string& version() const { return version_; }
    const std::vector<Registration>& registrations() const { return registrations_; }
    const std::vector<Function>& functions() const { return functions_; }

    // The registrations that want events of a type; null: none. Lives as long as this.
    using Matches = std::vector<std::uint32_t>;
    const Matches* matching(std::string_view type);
    // resync or stop of a table that a backfill holds: only another backfill leads to what is
    // right.
    bool order(const Event& event) const;

    // The batch's events, in order: function by function, in the order of registration. one_by_one:
    // event by event, and an error becomes a WriteError that names it.
    void call(postgres::Connection& connection, std::span<const Event* const> events,
              bool one_by_one) const;
    // One function, whose error becomes none of ours.
    static void call(postgres::Connection& connection, const Function& function,
                     const std::string& json_array);

    // For tests, and for handlers that are rebuilt.
    void add(Registration registration, Function function);

  private:
    bool wants(std::size_t function, const Event& event) const;

    std::vector<Registration> registrations_;
    std::vector<Function> functions_;
    std::string version_;
    std::set<Matches> sets_;
    std::unordered_map<std::string, const Matches*> by_type_;
};

// What the version of cqrs.handler, and of what is known of each, is compared with; $1 is the
// topic.
inline constexpr const char* handlers_version_sql =
    "(SELECT concat_ws(' ', count(*), max(h.registered_at), max(hs.changed_at)) FROM cqrs.handler "
    "h LEFT JOIN cqrs.handler_state hs USING (pattern, handler) WHERE h.topic = $1)";

// The topic begins at its first event: nothing to backfill.
void begin_handlers(postgres::Connection& connection, const std::string& topic);
// A topic was copied: what its handlers made may lack events. Those that can be backfilled will be,
// the others stop, and are told so.
void handlers_missed(postgres::Connection& connection, const std::string& topic,
                     const std::string& why);
// The rows of a prefix changed without events.
void handlers_backfill_again(postgres::Connection& connection, const std::string& topic,
                             const std::string& prefix);

}  // namespace cqrs::apply
