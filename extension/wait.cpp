// cqrs.wait_for(): until this replica has reached a token. And the trigger that wakes those who
// wait.
//
// Nobody polls, and nothing is shared but Postgres' own locks (no shared_preload_libraries). A
// waiter holds a lock whose tag stands for its topic, which nobody ever waits for; a transaction
// that moved a topic's position looks, once it is committed, who holds that lock, and sets their
// latches. No wake-up is lost:
//
//   waiter:    1 takes the lock    2 reads the position    3 sleeps on its latch
//   applier:   A becomes visible   B lists the lock's holders, sets their latches
//
// 1 and B take the same lock partition's LWLock. If 1 comes first, B finds the waiter: either 2
// sees A, or the latch ends 3. If B comes first, A was before it, and 2, which comes after 1, takes
// its snapshot after A (ProcArrayEndTransaction, before XACT_EVENT_COMMIT) and sees it.
#include "catalog.hpp"
#include "compat.hpp"
#include "module.hpp"
#include "token.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cqrs_wait_for);
PG_FUNCTION_INFO_V1(cqrs_position_moved);
}

namespace cqrs {
namespace {

// A waiter looks again after so long, whatever was or was not said to it: on a physical standby of
// the replica nobody commits, so nobody wakes it.
constexpr long look_again_ms = 1000;

uint32 topic_hash(const char* topic, size_t size) {
    return DatumGetUInt32(
        hash_any(reinterpret_cast<const unsigned char*>(topic), static_cast<int>(size)));
}

// A class of advisory locks beside those of SQL (whose last field is 1 or 2). Two topics of one
// hash wake each other's waiters, who look and go on waiting.
LOCKTAG waiters_of(uint32 topic) {
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0x63717273, topic, 3);
    return tag;
}

// --- the waiter

// Of the topics to wait for, palloc'd. SPI is this function's alone.
List* topics_to_wait_for(const char* topic) {
    List* topics = NIL;
    MemoryContext caller = CurrentMemoryContext;
    CatalogWriter reader = begin_catalog_write();
    catalog_execute("SELECT topic FROM cqrs.freshness ORDER BY topic", 0, nullptr, nullptr);
    for (uint64 i = 0; i < SPI_processed; i++) {
        char* name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
        if (topic != nullptr && strcmp(topic, name) != 0) continue;
        MemoryContext spi = MemoryContextSwitchTo(caller);
        topics = lappend(topics, pstrdup(name));
        MemoryContextSwitchTo(spi);
    }
    end_catalog_write(reader);
    if (topics == NIL && topic != nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("this database is not subscribed to topic \"%s\"", topic),
                        errhint("SELECT topic FROM cqrs.freshness shows the topics.")));
    if (topics == NIL)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("this database is subscribed to nothing"),
                        errdetail("There is no position to wait for."),
                        errhint("Call cqrs.wait_for() on a replica.")));
    return topics;
}

// Reads with a snapshot of its own, taken now.
bool reached(const char* topic, const Token& token) {
    static SPIPlanPtr plan = nullptr;
    CatalogWriter reader = begin_catalog_write();
    if (plan == nullptr) {
        Oid types[] = {TEXTOID};
        SPIPlanPtr made = SPI_prepare(
            "SELECT complete, source, lsn FROM cqrs.freshness WHERE topic = $1", 1, types);
        if (made == nullptr || SPI_keepplan(made) != 0) elog(ERROR, "SPI_prepare failed");
        plan = made;
    }
    Datum arguments[] = {CStringGetTextDatum(topic)};
    int code = SPI_execute_plan(plan, arguments, nullptr, false, 1);
    if (code < 0) elog(ERROR, "SPI failed: %s", SPI_result_code_string(code));
    bool result = false;
    if (SPI_processed == 1) {
        HeapTuple row = SPI_tuptable->vals[0];
        TupleDesc desc = SPI_tuptable->tupdesc;
        bool none, unknown;
        const bool complete = DatumGetBool(SPI_getbinval(row, desc, 1, &none));
        const char* source = SPI_getvalue(row, desc, 2);
        Datum lsn = SPI_getbinval(row, desc, 3, &unknown);
        if (source != nullptr && strcmp(source, token.source) != 0) {
            // A replica that has yet to hear of a promotion is waited for.
            if (!newer_timeline(token.source, source))
                ereport(ERROR,
                        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                         errmsg("the token is of another primary"),
                         errdetail("The token is of %s, topic \"%s\" follows %s.", token.source,
                                   topic, source),
                         errhint("Take a new token, on the primary that this replica follows.")));
        } else {
            result = complete && source != nullptr && !unknown && DatumGetLSN(lsn) >= token.lsn;
        }
    }
    end_catalog_write(reader);
    return result;
}

// False: not until `deadline`. What an ERROR leaves of the lock the end of the transaction
// releases.
bool wait_for_topic(const char* topic, const Token& token, TimestampTz deadline) {
    if (reached(topic, token)) return true;
    LOCKTAG tag = waiters_of(topic_hash(topic, strlen(topic)));
    (void)LockAcquire(&tag, ShareLock, false, false);
    bool result;
    while (!(result = reached(topic, token))) {
        const long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
        if (left <= 0) break;
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                        Min(left, look_again_ms), wait_event());
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
    LockRelease(&tag, ShareLock, false);
    return result;
}

TimestampTz deadline_of(const Interval* timeout) {
    const double us = (static_cast<double>(timeout->month) * DAYS_PER_MONTH + timeout->day) *
                          static_cast<double>(USECS_PER_DAY) +
                      static_cast<double>(timeout->time);
    if (us < 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("the timeout must not be negative"),
                        errhint("Pass '0' to look once without waiting.")));
    constexpr double longest = 1000.0 * 365 * USECS_PER_DAY;
    return GetCurrentTimestamp() + static_cast<int64>(Min(us, longest));
}

// --- who wakes it

// Topics that this transaction moved, as hashes; in TopTransactionContext. What a rolled-back
// savepoint added wakes somebody for nothing.
List* moved = NIL;

// The commit cannot be taken back here, and an ERROR would be a PANIC: nothing but a palloc of a
// few bytes a backend may fail, as in Postgres' own NOTIFY at this place.
void wake_waiters(uint32 topic) {
    LOCKTAG tag = waiters_of(topic);
    int count = 0;
    VirtualTransactionId* holders = GetLockConflicts(&tag, ExclusiveLock, &count);
    for (int i = 0; i < count; i++) set_latch_of(holders[i]);
}

void at_transaction_end(XactEvent event, void*) {
    if (moved == NIL || event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE) return;
    List* topics = moved;
    moved = NIL;
    if (event != XACT_EVENT_COMMIT) return;
    ListCell* cell;
    foreach (cell, topics) wake_waiters(static_cast<uint32>(lfirst_int(cell)));
}

}  // namespace
}  // namespace cqrs

void wait_init() {
    RegisterXactCallback(cqrs::at_transaction_end, nullptr);
}

Datum cqrs_wait_for(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&]() -> Datum {
        if (PG_ARGISNULL(0)) PG_RETURN_NULL();
        if (PG_ARGISNULL(1))
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                            errmsg("the timeout must not be NULL"),
                            errhint("Leave it out for 5 seconds.")));
        cqrs::Token token = cqrs::parse_token(text_to_cstring(PG_GETARG_TEXT_PP(0)));
        TimestampTz deadline = cqrs::deadline_of(PG_GETARG_INTERVAL_P(1));
        // Whatever arrives, this transaction would not see it.
        if (IsolationUsesXactSnapshot())
            ereport(ERROR,
                    (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                     errmsg("cqrs.wait_for() must not be called in a transaction of isolation "
                            "level %s",
                            IsolationIsSerializable() ? "SERIALIZABLE" : "REPEATABLE READ"),
                     errdetail("Its snapshot is taken: it would not see what it waited for."),
                     errhint("Call it before BEGIN, or use READ COMMITTED.")));
        List* topics = cqrs::topics_to_wait_for(
            PG_ARGISNULL(2) ? nullptr : text_to_cstring(PG_GETARG_TEXT_PP(2)));
        // One after the other: a topic that has reached the token does not leave it again.
        ListCell* cell;
        foreach (cell, topics)
            if (!cqrs::wait_for_topic(static_cast<const char*>(lfirst(cell)), token, deadline))
                PG_RETURN_BOOL(false);
        PG_RETURN_BOOL(true);
    });
}

Datum cqrs_position_moved(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        if (!CALLED_AS_TRIGGER(fcinfo))
            ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                            errmsg("cqrs.position_moved() is a trigger")));
        auto* trigger = reinterpret_cast<TriggerData*>(fcinfo->context);
        HeapTuple row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
                                                                   : trigger->tg_trigtuple;
        TupleDesc desc = RelationGetDescr(trigger->tg_relation);
        bool is_null;
        Datum topic = heap_getattr(row, SPI_fnumber(desc, "topic"), desc, &is_null);
        if (!is_null) {
            text* name = DatumGetTextPP(topic);
            MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
            cqrs::moved = list_append_unique_int(
                cqrs::moved,
                static_cast<int>(cqrs::topic_hash(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name))));
            MemoryContextSwitchTo(caller);
        }
        return PointerGetDatum(nullptr);
    });
}
