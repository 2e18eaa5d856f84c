// The replication stream: CopyBoth on a walsender. Nothing here blocks once start() has returned.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "postgres/connection.hpp"
#include "relay/types.hpp"
#include "stop.hpp"

namespace cqrs::relay {

class Stream {
  public:
    // Of a walsender of the database; ends when stop is requested.
    Stream(postgres::Connection walsender, const Stop& stop);

    postgres::Connection& connection() noexcept { return connection_; }

    // CREATE_REPLICATION_SLOT. Waits for every transaction that was open before, in any database:
    // logs what it waits for through on_wait(), called every five seconds. False: stop was
    // requested.
    bool create_slot(const std::string& slot, const Stop& stop,
                     const std::function<void()>& on_wait);

    // START_REPLICATION. Throws Error{55006} if the slot is in use: the connection stays usable.
    // options: "(format 'frame', ...)".
    void start(const std::string& slot, Lsn lsn, const std::string& options);

    struct Item {
        std::string_view frame;  // empty: a keepalive
        Lsn wal_end = 0;         // of a keepalive: how far the walsender has read
        bool reply_requested = false;
    };
    // The next thing that has arrived; nullopt: nothing. item.frame is valid until the next call.
    // Throws Error when the stream has ended.
    std::optional<Item> next();

    // Queues a standby status update: everything up to lsn is done with.
    void send_status(Lsn lsn);
    bool flush();  // true: something is left to send, wait for POLLOUT
    int socket() const noexcept { return connection_.socket(); }
    void close() noexcept { connection_.close(); }

  private:
    [[noreturn]] void fail(const PGresult* result);

    postgres::Connection connection_;
    struct Free {
        void operator()(char* p) const noexcept { PQfreemem(p); }
    };
    std::unique_ptr<char, Free> row_;
};

}  // namespace cqrs::relay
