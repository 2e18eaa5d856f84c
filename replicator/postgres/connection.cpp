#include "postgres/connection.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <future>
#include <system_error>
#include <thread>

#include "postgres/failure.hpp"

namespace cqrs::postgres {

namespace {

// PGconn's parameters take C strings: a value with a NUL byte would be cut silently.
class Values {
  public:
    template <typename Params>
    explicit Values(const Params& params) {
        strings_.reserve(params.size());
        for (const Param& p : params) {
            if (p && p->find('\0') != std::string_view::npos)
                throw Error(Remedy::stop, "22021", "a parameter holds a NUL byte");
            strings_.emplace_back(p ? std::string(*p) : std::string());
        }
        std::size_t i = 0;
        for (const Param& p : params) pointers_.push_back(p ? strings_[i].c_str() : nullptr), ++i;
    }
    int size() const { return static_cast<int>(pointers_.size()); }
    const char* const* data() const { return pointers_.data(); }

  private:
    std::vector<std::string> strings_;
    std::vector<const char*> pointers_;
};

// PQconnectPoll until it is through or the deadline has passed.
void finish_connecting(PGconn* c, std::chrono::milliseconds timeout, const Stop* stop) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        if (status == PGRES_POLLING_FAILED) no_login(c);
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        pollfd fds[] = {{PQsocket(c),
                         static_cast<short>(status == PGRES_POLLING_READING ? POLLIN : POLLOUT), 0},
                        {stop ? stop->fd() : -1, POLLIN, 0}};
        const int ready = left.count() > 0 ? poll(fds, 2, static_cast<int>(left.count())) : 0;
        if (stop && stop->requested()) throw stopping();
        if (ready == 0)
            throw Error(Remedy::retry, "",
                        "no answer from " + text(PQhost(c)) + ":" + text(PQport(c)) + " within " +
                            std::to_string(timeout.count()) + " ms");
        if (ready < 0 && errno != EINTR)
            throw Error(Remedy::retry, "", "poll: " + std::generic_category().message(errno));
        if (fds[0].revents != 0) status = PQconnectPoll(c);
    }
}

// Whatever the role's or the database's settings are: our SQL means what it says (nothing of
// another schema stands in for pg_catalog's operators and functions; defaults, checks and triggers
// of tables meet this search_path too, as in native replication), its answers read as we expect,
// writes are allowed, and no timeout ends a session. Who wants one sets it.
constexpr const char* session_settings =
    "SET search_path = pg_catalog; SET standard_conforming_strings = on; SET array_nulls = on; "
    "SET transform_null_equals = off; SET quote_all_identifiers = off; SET DateStyle = 'ISO, YMD'; "
    "SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'; "
    "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = "
    "off; "
    "SET default_transaction_deferrable = off; SET statement_timeout = 0; SET lock_timeout = 0; "
    "SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0";

}  // namespace

std::int64_t Result::get_int(int row, int column) const {
    const std::string_view value = get(row, column);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc{} || end != value.data() + value.size())
        throw Error(Remedy::stop, "22P02",
                    "expected an integer from the server, got \"" + std::string(value) + "\"");
    return number;
}

std::int64_t Result::affected() const noexcept {
    const char* tuples = PQcmdTuples(result_.get());
    std::int64_t number = 0;
    std::from_chars(tuples, tuples + std::char_traits<char>::length(tuples), number);
    return number;
}

Connection Connection::open(const std::string& conninfo, const std::string& application_name,
                            bool replication, std::chrono::milliseconds timeout, const Stop* stop) {
    // libpq's complaint about a connection string quotes parts of it: the password may be among
    // them.
    struct FreeOptions {
        void operator()(PQconninfoOption* o) const noexcept { PQconninfoFree(o); }
    };
    char* complaint = nullptr;
    std::unique_ptr<PQconninfoOption, FreeOptions> parsed(
        PQconninfoParse(conninfo.c_str(), &complaint));
    PQfreemem(complaint);
    if (!parsed)
        throw Error(Remedy::stop, "08001", "the connection string cannot be parsed",
                    "It is a postgresql:// URL or keyword=value pairs; special characters in a "
                    "URL's password are percent-encoded.");

    // Before dbname: defaults that the string may override. After it: what must hold.
    std::vector<const char*> keys, values;
    const auto add = [&](const char* key, const char* value) {
        keys.push_back(key);
        values.push_back(value);
    };
    add("keepalives_idle", "10");
    add("keepalives_interval", "5");
    add("keepalives_count", "3");
    add("tcp_user_timeout", "30000");
    add("dbname", conninfo.c_str());
    add("application_name", application_name.c_str());
    add("client_encoding", "UTF8");
    if (replication) add("replication", "database");
    keys.push_back(nullptr);
    values.push_back(nullptr);

    Connection connection(PQconnectStartParams(keys.data(), values.data(), 1));
    PGconn* c = connection.raw();
    if (!c || PQstatus(c) == CONNECTION_BAD) no_connection(c, "");
    PQsetErrorVerbosity(c, PQERRORS_VERBOSE);
    finish_connecting(c, timeout, stop);
    PQsetErrorVerbosity(c, PQERRORS_DEFAULT);
    PQsetNoticeProcessor(
        c,
        [](void*, const char* message) {
            // A C frame above: nothing may be thrown through it.
            try {
                spdlog::debug("postgres: {}", one_line(message));
            } catch (const std::exception& e) {
                std::fprintf(stderr, "postgres notice not logged: %s\n", e.what());
            }
        },
        nullptr);
    connection.stop_ = stop;
    connection.exec(session_settings);
    if (connection.server_version() >= 170000) connection.exec("SET transaction_timeout = 0");
    connection.stop_ = nullptr;
    return connection;
}

Result Connection::check(Result result) const {
    const PGresult* raw = result.raw();
    if (!raw) no_connection(connection_.get(), "");
    switch (PQresultStatus(raw)) {
        case PGRES_COMMAND_OK:
        case PGRES_TUPLES_OK:
        case PGRES_SINGLE_TUPLE:
        case PGRES_COPY_IN:
        case PGRES_COPY_OUT:
        case PGRES_COPY_BOTH:
        case PGRES_EMPTY_QUERY:
            return result;
        default:
            throw from_result(raw, ok());
    }
}

Result Connection::exec(const std::string& sql) {
    if (stop_) return await_or_throw(PQsendQuery(connection_.get(), sql.c_str()) != 0);
    return check(PQexec(connection_.get(), sql.c_str()));
}

std::optional<Result> Connection::exec_interruptible(const std::string& sql, const Stop& stop,
                                                     const std::function<void()>& on_wait) {
    return await(PQsendQuery(connection_.get(), sql.c_str()) != 0, stop, on_wait);
}

Result Connection::await_or_throw(bool sent) {
    auto result = await(sent, *stop_, {});
    if (!result) throw stopping();
    return std::move(*result);
}

std::optional<Result> Connection::await(bool sent, const Stop& stop,
                                        const std::function<void()>& on_wait) {
    constexpr auto pace = std::chrono::seconds(5);
    struct CancelUnlessDone {
        Canceller canceller;
        bool done = false;
        ~CancelUnlessDone() {
            if (!done) canceller.cancel();
        }
    };
    PGconn* c = connection_.get();
    if (!sent) no_connection(c, "");
    CancelUnlessDone command{Canceller(*this)};
    std::optional<Result> first;
    auto next_word = std::chrono::steady_clock::now() + pace;
    for (;;) {
        while (PQisBusy(c) != 0) {
            pollfd fds[] = {{PQsocket(c), POLLIN, 0}, {stop.fd(), POLLIN, 0}};
            poll(fds, 2, 1000);
            if (stop.requested()) return std::nullopt;
            if (fds[0].revents != 0 && PQconsumeInput(c) == 0) no_connection(c, "");
            if (!on_wait || std::chrono::steady_clock::now() < next_word) continue;
            on_wait();
            next_word = std::chrono::steady_clock::now() + pace;
        }
        Result result(PQgetResult(c));
        if (result.raw() == nullptr) break;
        const auto status = PQresultStatus(result.raw());
        if (!first) first = std::move(result);
        // Not over, and answered so again and again: the caller goes on with the stream.
        if (status == PGRES_COPY_BOTH || status == PGRES_COPY_IN || status == PGRES_COPY_OUT) break;
    }
    command.done = true;
    if (!first) no_connection(c, "");
    return check(std::move(*first));
}

namespace {
template <typename Params>
PGresult* run_query(PGconn* c, const std::string& sql, const Params& params) {
    const Values values(params);
    return PQexecParams(c, sql.c_str(), values.size(), nullptr, values.data(), nullptr, nullptr, 0);
}
template <typename Params>
bool send_query(PGconn* c, const std::string& sql, const Params& params) {
    const Values values(params);
    return PQsendQueryParams(c, sql.c_str(), values.size(), nullptr, values.data(), nullptr,
                             nullptr, 0) != 0;
}
}  // namespace

Result Connection::query(const std::string& sql, std::initializer_list<Param> params) {
    if (stop_) return await_or_throw(send_query(connection_.get(), sql, params));
    return check(run_query(connection_.get(), sql, params));
}

Result Connection::query(const std::string& sql, const std::vector<Param>& params) {
    if (stop_) return await_or_throw(send_query(connection_.get(), sql, params));
    return check(run_query(connection_.get(), sql, params));
}

void Connection::prepare(const std::string& name, const std::string& sql) {
    check(PQprepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr));
}

std::vector<std::uint32_t> Connection::column_types(const std::string& prepared) {
    const Result result = check(PQdescribePrepared(connection_.get(), prepared.c_str()));
    std::vector<std::uint32_t> types;
    for (int i = 0; i < PQnfields(result.raw()); ++i) types.push_back(PQftype(result.raw(), i));
    return types;
}

Result Connection::execute_binary(const std::string& name, std::string_view param) {
    const char* const value = param.data();
    const int length = static_cast<int>(param.size()), format = 1;
    return check(PQexecPrepared(connection_.get(), name.c_str(), 1, &value, &length, &format, 0));
}

Result Connection::execute(const std::string& name, const std::vector<Param>& params) {
    const Values values(params);
    return check(PQexecPrepared(connection_.get(), name.c_str(), values.size(), values.data(),
                                nullptr, nullptr, 0));
}

WalEnd wal_end_of(const Result& result) {
    return {parse_lsn(result.get(0, 0)), parse_lsn(result.get(0, 1))};
}

void Connection::commit_failed(const Error& e) const {
    if (ok()) throw Error(e);
    throw Error(Remedy::in_doubt, e.sqlstate(), std::string("COMMIT: ") + e.what());
}

void Connection::commit() {
    try {
        const Result result = exec("COMMIT");
        // COMMIT of a failed transaction "succeeds" as ROLLBACK.
        if (std::string_view(PQcmdStatus(result.raw())) != "COMMIT")
            throw Error(Remedy::retry, "25P02", "COMMIT rolled the transaction back");
    } catch (const Error& e) {
        commit_failed(e);
    }
}

WalEnd Connection::commit_and_look() {
    std::string tag;
    WalEnd end;
    try {
        if (PQsendQuery(connection_.get(), (std::string("COMMIT; ") + wal_end_sql).c_str()) != 1)
            no_connection(connection_.get(), "");
        // All are read before one is looked at: the connection stays usable after an ERROR.
        std::vector<Result> results;
        while (PGresult* next = PQgetResult(connection_.get())) results.emplace_back(next);
        for (Result& each : results) {
            const Result result = check(std::move(each));
            if (tag.empty()) tag = PQcmdStatus(result.raw());
            if (result.rows() == 1) end = wal_end_of(result);
        }
    } catch (const Error& e) {
        commit_failed(e);
    }
    if (tag != "COMMIT") throw Error(Remedy::retry, "25P02", "COMMIT rolled the transaction back");
    return end;
}

WalEnd Connection::wal_end() {
    return wal_end_of(exec(wal_end_sql));
}

bool Connection::notification(std::string& channel, std::string& payload) {
    if (PQconsumeInput(connection_.get()) == 0) no_connection(connection_.get(), "");
    struct Free {
        void operator()(PGnotify* n) const noexcept { PQfreemem(n); }
    };
    const std::unique_ptr<PGnotify, Free> notify(PQnotifies(connection_.get()));
    if (!notify) return false;
    channel = notify->relname;
    payload = notify->extra;
    return true;
}

Canceller::Canceller(const Connection& connection)
    : cancel_(PQgetCancel(connection.raw()), PQfreeCancel) {}

void Canceller::cancel() noexcept {
    if (!cancel_) return;
    try {
        // PQcancel has no timeout: one that hangs is left to a thread of its own, which needs
        // nothing of ours but the key.
        std::packaged_task<void()> task([key = cancel_] {
            std::array<char, 256> complaint{};
            PQcancel(key.get(), complaint.data(), complaint.size());
        });
        const auto sent = task.get_future();
        std::thread(std::move(task)).detach();
        sent.wait_for(std::chrono::milliseconds(500));
    } catch (const std::exception& e) {
        spdlog::warn("postgres: cannot cancel a statement: {}", e.what());
    }
}

}  // namespace cqrs::postgres
