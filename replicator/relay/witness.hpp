// What the broker knows of our numbering. A restored backup, a volume snapshot or a failover bring
// back an older relay_state that agrees with its slot and looks whole: only outside the primary can
// be seen that numbers after it were given out already. So the relay keeps its last checkpoint as
// the one message of a queue, and begins a new epoch when the primary does not agree with it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "broker/connection.hpp"
#include "broker/silence.hpp"
#include "config.hpp"
#include "relay/state.hpp"
#include "relay/types.hpp"

namespace cqrs::relay {

struct Witness {
    std::string source;
    std::int64_t epoch = 0;
    Lsn lsn = 0;  // up to here the topics' last events are
    TopicPositions topics;
};

std::string to_json(const Checkpoint& checkpoint);
std::optional<Witness> parse_witness(std::string_view json);  // nullopt: it is none

// The queue of the slot, bound. False: the broker's user may not (README, "Rights"); the relay
// works without it. Throws broker::Error.
bool declare_witness(broker::Connection& connection, const std::string& slot,
                     broker::Silence& silence);
// nullopt: none was left. The message stays where it is.
std::optional<Witness> read_witness(broker::Connection& connection, const std::string& slot);
// Over a connection of its own. A queue that is silent for good is declared anew, and no witness
// any more: publishing to it would fail for ever.
std::optional<Witness> ask_witness(const Settings& settings, broker::Silence& silence);

// Why relay_state cannot be what the witness saw, or later; empty: it can. flushed: the end of the
// primary's WAL. A witness of another source says nothing. Pure.
std::string contradicted(const RelayState& row, const std::string& source, const Witness& witness,
                         Lsn flushed);

// relay_state may be a little behind the witness, after a kill. Then the stream has to bring the
// same events again: as many, of the same commits. Pure.
class Recall {
  public:
    Recall() = default;
    Recall(const RelayState& row, const Witness& witness);

    bool pending() const { return lsn_ != 0; }
    // For each frame in turn; before: the topic's last sequence. Why it contradicts; empty: it does
    // not.
    std::string check(const Frame& frame, std::int64_t before);

  private:
    Lsn lsn_ = 0;  // 0: nothing to recall
    TopicPositions topics_;
};

}  // namespace cqrs::relay
