// cqrs.spool: messages of a transaction that is too large to hold.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apply/message.hpp"
#include "postgres/connection.hpp"

namespace cqrs::apply {

struct Spooled {
    std::int64_t sequence = 0, count = 0;
    std::uint64_t lsn = 0;
    bool more = false;
    std::int64_t last() const { return sequence + count - 1; }
};

void spool_message(postgres::Connection& connection, const std::string& topic,
                   const Message& message);
// The last message in it; nullopt: empty.
std::optional<Spooled> last_spooled(postgres::Connection& connection, const std::string& topic);
// The next message that begins after sequence `after`, with its body; false at the end.
bool read_spooled(postgres::Connection& connection, const std::string& topic, std::int64_t after,
                  Message& message);
// Those that end at or before `sequence`.
void drop_spooled(postgres::Connection& connection, const std::string& topic,
                  std::int64_t sequence);

}  // namespace cqrs::apply
