// Events that the server refused for good, of subscriptions that would rather lose sight of one key
// than stand still (on_error => 'park'). Each waits in cqrs.parked together with every later event
// of its key, so that the order per key holds, while all other keys go on.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "apply/event.hpp"
#include "apply/table.hpp"
#include "apply/writer.hpp"
#include "postgres/connection.hpp"

namespace cqrs::apply {

class Parked {
  public:
    // Which keys are parked now. Anew before each batch while there are any: somebody may have
    // discarded them.
    void load(postgres::Connection& connection, const std::vector<Table>& tables);
    bool empty() const { return keys_.empty(); }

    // One attempt at a batch: begin(), each event in order, store() in the batch's transaction
    // (more than once if the batch comes in parts), committed().
    void begin();
    // True if the event has to wait behind a parked one of its key.
    bool takes(const Event& event);
    // The server refused the event: it waits, and its key with it. False if it may not: its table
    // stops the topic, or the error is not about a row.
    bool park(const WriteError& error);
    // How many events it stored for the first refusal of their key.
    std::size_t store(postgres::Connection& connection, const std::string& topic,
                      std::int64_t epoch);
    void committed() { keys_ = std::move(working_); }

  private:
    struct Held {
        const Event* event;
        std::string sqlstate, message;  // empty: behind another
    };
    using Keys = std::set<std::string, std::less<>>;
    Keys keys_, working_;
    std::vector<Held> held_;
    std::vector<const Event*> truncated_;
};

// Whether a table's events may be parked, and by which key: empty if not.
std::string park_key(const Event& event, const Field* row);
// The same key for people: {"id": "5"}.
std::string park_key_json(const Table& table, const Field* row);

}  // namespace cqrs::apply
