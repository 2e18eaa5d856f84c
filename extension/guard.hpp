// The border between C++ and Postgres' longjmp. Two rules, kept everywhere in this folder:
//
//  1. Every SQL function and callback that Postgres calls runs its body in guarded(): no exception
//     crosses a C frame. The exception's SQLSTATE and text are copied to plain storage, the catch
//     is left, and only then is the error reported (an ereport inside a catch leaks the exception).
//  2. An ERROR must not skip a destructor: call Postgres only from frames that hold plain data
//     (pointers, Datums, references to objects owned elsewhere), or through pg_call(), which turns
//     the ERROR into a PgError. A PgError must reach guarded(): going on after it would need a
//     subtransaction.
#pragma once

extern "C" {
#include "postgres.h"
// clang-format off: postgres.h comes first
#include "utils/elog.h"
#include "utils/memutils.h"
// clang-format on
}

#include <cstring>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

namespace cqrs {

// An ERROR of Postgres on its way to guarded(). data lives in the memory context that was current
// when pg_call() was entered.
struct PgError final : std::exception {
    explicit PgError(ErrorData* d) noexcept : data(d) {}
    const char* what() const noexcept override { return data->message ? data->message : ""; }
    ErrorData* data;
};

// An error of ours with its SQLSTATE. The texts are copied by guarded(); they must outlive the
// throw only as long as string literals or palloc'd memory do.
struct SqlError final : std::exception {
    SqlError(int code, const char* m, const char* d = nullptr, const char* h = nullptr) noexcept
        : sqlstate(code), message(m), detail(d), hint(h) {}
    const char* what() const noexcept override { return message; }
    int sqlstate;
    const char *message, *detail, *hint;
};

// Calls f, which may ereport(ERROR) and must itself hold plain data only. Costs a sigsetjmp: not
// for every row.
template <class F>
auto pg_call(F&& f) -> std::invoke_result_t<F> {
    using R = std::invoke_result_t<F>;
    static_assert(std::is_void_v<R> || std::is_trivially_copyable_v<R>);
    MemoryContext caller = CurrentMemoryContext;
    ErrorData* volatile failed = nullptr;
    if constexpr (std::is_void_v<R>) {
        PG_TRY();
        { f(); }
        PG_CATCH();
        {
            MemoryContextSwitchTo(caller);
            failed = CopyErrorData();
            FlushErrorState();
        }
        PG_END_TRY();
        if (failed) throw PgError(failed);
    } else {
        volatile R result{};
        PG_TRY();
        { result = f(); }
        PG_CATCH();
        {
            MemoryContextSwitchTo(caller);
            failed = CopyErrorData();
            FlushErrorState();
        }
        PG_END_TRY();
        if (failed) throw PgError(failed);
        return result;
    }
}

template <class F>
auto guarded(F&& body) -> std::invoke_result_t<F> {
    int sqlstate = 0;
    ErrorData* postgres_error = nullptr;
    char message[512] = "", detail[512] = "", hint[512] = "";
    auto keep = [](char(&to)[512], const char* from) { strlcpy(to, from ? from : "", sizeof to); };
    try {
        return std::forward<F>(body)();
    } catch (const PgError& e) {
        postgres_error = e.data;
    } catch (const SqlError& e) {
        sqlstate = e.sqlstate;
        keep(message, e.message);
        keep(detail, e.detail);
        keep(hint, e.hint);
    } catch (const std::bad_alloc&) {
        sqlstate = ERRCODE_OUT_OF_MEMORY;
        keep(message, "out of memory");
    } catch (const std::exception& e) {
        sqlstate = ERRCODE_INTERNAL_ERROR;
        keep(message, e.what());
    }
    if (postgres_error) ReThrowError(postgres_error);
    ereport(ERROR, (errcode(sqlstate), errmsg("%s", message),
                    detail[0] ? errdetail("%s", detail) : 0, hint[0] ? errhint("%s", hint) : 0));
    pg_unreachable();
}

}  // namespace cqrs
