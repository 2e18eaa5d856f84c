#include "remote.hpp"

#include "compat.hpp"
#include "module.hpp"

#include <libpq-fe.h>
#include <cerrno>

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
}

namespace cqrs {
namespace {

constexpr int connect_limit_ms = 5000;

struct Remote {
    PGconn* connection = nullptr;
    PGresult* result = nullptr;  // the one that is being read
    bool busy = false;           // a statement is under way
    uint64 version = 0;
} remote;

void clear_result() {
    if (remote.result != nullptr) PQclear(remote.result);
    remote.result = nullptr;
}

// An ERROR has left a query half way.
void at_transaction_end(XactEvent event, void*) {
    if (event == XACT_EVENT_ABORT && remote.busy) remote_close();
}

void describe(RemoteFailure* failure, bool away, const char* sqlstate, const char* message) {
    memset(failure, 0, sizeof *failure);
    failure->away = away;
    strlcpy(failure->sqlstate, sqlstate, sizeof failure->sqlstate);
    strlcpy(failure->message, message, sizeof failure->message);
    for (size_t n = strlen(failure->message); n > 0 && failure->message[n - 1] == '\n'; n--)
        failure->message[n - 1] = '\0';
}

bool lost(RemoteFailure* failure) {
    describe(failure, true, "08006", PQerrorMessage(remote.connection));
    remote_close();
    return false;
}

// False: the time is up. An interrupt of this session ends it by an ERROR.
bool wait_for_socket(int events, TimestampTz deadline) {
    long left = -1;
    if (deadline != 0) {
        left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
        if (left <= 0) return false;
        events |= WL_TIMEOUT;
    }
    const int happened = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | events,
                                           PQsocket(remote.connection), left, wait_event());
    if (happened & WL_LATCH_SET) {
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
    return true;
}

// The next result of the statement under way in remote.result; nullptr: it has ended.
bool next_result() {
    clear_result();
    while (PQisBusy(remote.connection)) {
        (void)wait_for_socket(WL_SOCKET_READABLE, 0);
        if (!PQconsumeInput(remote.connection)) return false;
    }
    remote.result = PQgetResult(remote.connection);
    return true;
}

const char* field(int code) {
    const char* value = PQresultErrorField(remote.result, code);
    return value != nullptr ? value : "";
}

}  // namespace

void remote_close() {
    clear_result();
    if (remote.connection != nullptr) {
        PQfinish(remote.connection);
        ReleaseExternalFD();
    }
    remote = {};
}

bool remote_connect(const RemoteAddress& address, RemoteFailure* failure) {
    if (remote.connection != nullptr && (remote.version != address.version || remote.busy ||
                                         PQstatus(remote.connection) != CONNECTION_OK))
        remote_close();
    if (remote.connection != nullptr) return true;

    if (!AcquireExternalFD())
        ereport(ERROR, (errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
                        errmsg("no file descriptor is left for a connection to the replica")));
    remote.busy = true;
    remote.connection = PQconnectStartParams(address.keywords, address.values, 0);
    if (remote.connection == nullptr) {
        ReleaseExternalFD();
        remote = {};
        ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
    }
    const TimestampTz deadline =
        TimestampTzPlusMilliseconds(GetCurrentTimestamp(), connect_limit_ms);
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (PQstatus(remote.connection) != CONNECTION_BAD && status != PGRES_POLLING_OK &&
           status != PGRES_POLLING_FAILED) {
        if (!wait_for_socket(
                status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE,
                deadline)) {
            remote_close();
            describe(failure, true, "08001", "timeout expired");
            return false;
        }
        status = PQconnectPoll(remote.connection);
    }
    if (status != PGRES_POLLING_OK) return lost(failure);
    remote.busy = false;
    remote.version = address.version;
    // Values travel as text; names are resolved here and written out in full.
    return remote_query(
        "SELECT set_config('search_path', 'pg_catalog', false), set_config('DateStyle', 'ISO', "
        "false), set_config('IntervalStyle', 'postgres', false), set_config('extra_float_digits', "
        "'3', false), set_config('default_transaction_read_only', 'on', false), "
        "set_config('client_connection_check_interval', '1s', false)",
        0, nullptr, nullptr, nullptr, failure);
}

bool remote_query(const char* sql, int count, const char* const* parameters, RemoteRow row,
                  void* to, RemoteFailure* failure) {
    remote.busy = true;
    if (!PQsendQueryParams(remote.connection, sql, count, nullptr, parameters, nullptr, nullptr,
                           0) ||
        !PQsetSingleRowMode(remote.connection))
        return lost(failure);
    bool good = true;
    for (;;) {
        if (!next_result()) return lost(failure);
        if (remote.result == nullptr) break;
        switch (PQresultStatus(remote.result)) {
            case PGRES_SINGLE_TUPLE: {
                const int columns = PQnfields(remote.result);
                const char* values[MaxTupleAttributeNumber];
                for (int i = 0; i < columns; i++)
                    values[i] = PQgetisnull(remote.result, 0, i) ? nullptr
                                                                 : PQgetvalue(remote.result, 0, i);
                if (row != nullptr) row(to, columns, values);
                break;
            }
            case PGRES_TUPLES_OK:
            case PGRES_COMMAND_OK:
                break;
            default:
                if (PQstatus(remote.connection) != CONNECTION_OK) return lost(failure);
                good = false;
                describe(failure, false, field(PG_DIAG_SQLSTATE), field(PG_DIAG_MESSAGE_PRIMARY));
                strlcpy(failure->detail, field(PG_DIAG_MESSAGE_DETAIL), sizeof failure->detail);
                strlcpy(failure->hint, field(PG_DIAG_MESSAGE_HINT), sizeof failure->hint);
        }
    }
    remote.busy = false;
    return good;
}

void remote_error(const RemoteFailure& failure) {
    const char* s = failure.sqlstate;
    const int code =
        strlen(s) == 5 ? MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4]) : ERRCODE_CONNECTION_FAILURE;
    if (failure.away)
        ereport(
            ERROR,
            (errcode(code), errmsg("the attached replica is away: %s", failure.message),
             errhint("Try again, or answer from this database meanwhile: cqrs.attach_replica(..., "
                     "fallback => 'primary'), or cqrs.detach_replica().")));
    ereport(ERROR, (errcode(code), errmsg("%s", failure.message),
                    failure.detail[0] ? errdetail("%s", failure.detail) : 0,
                    failure.hint[0] ? errhint("%s", failure.hint) : 0,
                    errcontext("query on the attached replica")));
    pg_unreachable();
}

}  // namespace cqrs

void remote_init() {
    RegisterXactCallback(cqrs::at_transaction_end, nullptr);
}
