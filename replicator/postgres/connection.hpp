// libpq, RAII: the only place that touches PGconn and PGresult.
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "postgres/error.hpp"
#include "postgres/text.hpp"
#include "stop.hpp"

namespace cqrs::postgres {

class Result {
  public:
    explicit Result(PGresult* result) : result_(result) {}
    int rows() const noexcept { return PQntuples(result_.get()); }
    bool is_null(int row, int column) const noexcept {
        return PQgetisnull(result_.get(), row, column) != 0;
    }
    std::string_view get(int row, int column) const noexcept {  // "" for NULL
        return {PQgetvalue(result_.get(), row, column),
                static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
    }
    std::int64_t get_int(int row, int column) const;
    bool get_bool(int row, int column) const noexcept { return get(row, column) == "t"; }
    std::int64_t affected() const noexcept;  // rows of INSERT, UPDATE, DELETE, COPY
    PGresult* raw() const noexcept { return result_.get(); }

  private:
    struct Clear {
        void operator()(PGresult* r) const noexcept { PQclear(r); }
    };
    std::unique_ptr<PGresult, Clear> result_;
};

using Param = std::optional<std::string_view>;  // nullopt is NULL

struct WalEnd {
    std::uint64_t inserted = 0, flushed = 0;
};

inline constexpr const char* wal_end_sql =
    "SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_wal_flush_lsn()";
WalEnd wal_end_of(const Result& result);

// A prepared statement and what it is executed with; nullopt is NULL.
struct Step {
    std::string name;
    std::vector<std::optional<std::string>> params;
};

class Connection {
  public:
    // Connects without blocking longer than `timeout`, or beyond a request to stop; sets
    // application_name, keepalives and what no role's settings may change (see session_settings).
    // Throws Error: retry, with the SQLSTATE if a server answered; the message carries no password.
    static Connection open(const std::string& conninfo, const std::string& application_name,
                           bool replication = false,  // "replication=database"
                           std::chrono::milliseconds timeout = std::chrono::seconds(10),
                           const Stop* stop = nullptr);

    // From here on exec() and query() end when stop is requested, also when the server hangs: with
    // Error{57014}. `stop` outlives the connection.
    void heed(const Stop& stop) noexcept { stop_ = &stop; }

    Result exec(const std::string& sql);  // simple protocol; throws Error
    // The same for a command that may take for ever (CREATE_REPLICATION_SLOT waits for every
    // transaction that was open before it); not for COPY. Ends at once when stop is requested:
    // nullopt; the command is cancelled on the server, which would not notice a closed connection
    // while it waits, and the connection is of no further use. on_wait, if given, is called every
    // five seconds meanwhile; what it throws is passed on, the command cancelled too.
    std::optional<Result> exec_interruptible(const std::string& sql, const Stop& stop,
                                             const std::function<void()>& on_wait = {});
    Result query(const std::string& sql, std::initializer_list<Param> params);
    Result query(const std::string& sql, const std::vector<Param>& params);
    void prepare(const std::string& name, const std::string& sql);
    Result execute(const std::string& name, const std::vector<Param>& params);
    // Its one parameter is in its type's binary form.
    Result execute_binary(const std::string& name, std::string_view param);
    // Types of what a prepared statement gives, by oid; a domain's is its base type's.
    std::vector<std::uint32_t> column_types(const std::string& prepared);
    // COMMIT; a lost connection throws Error{in_doubt}.
    void commit();
    // The same, then where the server's WAL ends and how far it is on disk: one round trip.
    WalEnd commit_and_look();
    // transact.cpp: a whole transaction as one round trip: BEGIN, the steps, COMMIT, a look. COMMIT
    // is on its way before a result is seen, so each step raises an ERROR unless it did what it is
    // to do. An Error but in_doubt: nothing was committed; the transaction may be open still.
    // lazily: the commit does not wait until it is on disk.
    WalEnd transact(std::vector<Step> steps, bool lazily);
    WalEnd wal_end();

    // COPY ... FROM STDIN / TO STDOUT and CopyBoth.
    void copy_begin(const std::string& sql);  // COPY_IN
    void copy_put(std::string_view data);
    std::int64_t copy_end();  // rows copied
    void copy_abort(
        const std::string& reason);  // ends a COPY_IN without effect; swallows the error
    void copy_out_begin(const std::string& sql);  // COPY_OUT
    bool copy_out_next(std::string_view& row);    // false at the end; row valid until the next call

    bool ok() const noexcept { return connection_ && PQstatus(connection_.get()) == CONNECTION_OK; }
    int socket() const noexcept { return PQsocket(connection_.get()); }
    PGconn* raw() const noexcept { return connection_.get(); }  // for the replication stream only
    int server_version() const noexcept { return PQserverVersion(connection_.get()); }
    int backend_pid() const noexcept { return PQbackendPID(connection_.get()); }
    bool in_transaction() const noexcept {
        return connection_ && PQtransactionStatus(connection_.get()) != PQTRANS_IDLE;
    }
    // The next NOTIFY that has already arrived (reads what the socket holds); false: none.
    bool notification(std::string& channel, std::string& payload);
    void close() noexcept { connection_.reset(); }

  private:
    std::optional<Result> await(bool sent, const Stop& stop, const std::function<void()>& on_wait);
    Result await_or_throw(bool sent);
    struct Finish {
        void operator()(PGconn* c) const noexcept { PQfinish(c); }
    };
    explicit Connection(PGconn* c) : connection_(c) {}
    [[noreturn]] void commit_failed(const Error& e) const;
    std::vector<Result> pipeline(const std::vector<Step>& steps);
    Result check(Result result) const;  // throws Error unless command or tuples were OK
    Result check(PGresult* raw) const { return check(Result(raw)); }
    std::unique_ptr<PGconn, Finish> connection_;
    const Stop* stop_ = nullptr;
    bool can_transact_ = false;  // what transact() adds to the steps is prepared
    std::unique_ptr<char, void (*)(char*)> copy_row_{nullptr, [](char* p) { PQfreemem(p); }};
};

// Cancels what a connection is doing, from any thread. Outlives the connection safely.
class Canceller {
  public:
    explicit Canceller(const Connection& connection);
    void cancel() noexcept;  // waits half a second at most for a server that does not answer

  private:
    std::shared_ptr<PGcancel> cancel_;
};

}  // namespace cqrs::postgres
