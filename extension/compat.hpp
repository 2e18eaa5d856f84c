// Postgres 15 to 18: every difference that this extension meets, in one place.
#pragma once

#include "guard.hpp"

extern "C" {
#include "access/xlog.h"
#include "access/xlogdefs.h"
#include "access/xloginsert.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_control.h"
#include "catalog/pg_proc.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "replication/logical.h"
#include "replication/message.h"
#include "replication/reorderbuffer.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/wait_event.h"
}

namespace cqrs {

inline bool owns_table(Oid relation, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(RelationRelationId, relation, role);
#else
    return pg_class_ownercheck(relation, role);
#endif
}

inline bool owns_function(Oid function, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(ProcedureRelationId, function, role);
#else
    return pg_proc_ownercheck(function, role);
#endif
}

// A logical message that exists if and only if the current transaction commits.
//
// Decoding orders the changes of a transaction and its subtransactions by their place in WAL, and a
// message's is its end: a row that comes right behind it, beyond a savepoint, has the same, and
// either may come first. A record that means nothing keeps them apart.
inline void log_transactional_message(const char* prefix, const char* bytes, size_t size) {
#if PG_VERSION_NUM >= 170000
    LogLogicalMessage(prefix, bytes, size, true, false);
#else
    LogLogicalMessage(prefix, bytes, size, true);
#endif
    char nothing = 0;
    XLogBeginInsert();
    XLogRegisterData(&nothing, sizeof(nothing));
    XLogInsert(RM_XLOG_ID, XLOG_NOOP);
}

// The tuple of a decoded change; null if WAL holds none.
#if PG_VERSION_NUM >= 170000
inline HeapTuple decoded_tuple(HeapTuple tuple) {
    return tuple;
}
#else
inline HeapTuple decoded_tuple(ReorderBufferTupleBuf* buffer) {
    return buffer ? &buffer->tuple : nullptr;
}
#endif

// A generated column without a value in its rows: from 18 on.
inline bool is_virtual(Form_pg_attribute column) {
#if PG_VERSION_NUM >= 180000
    return column->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL;
#else
    (void)column;
    return false;
#endif
}

// Core reports progress between the changes of a long transaction from 16 on; before, the plugin
// must, or the walsender times out.
inline void report_progress_of_change(LogicalDecodingContext* ctx, unsigned& changes) {
#if PG_VERSION_NUM < 160000
    constexpr unsigned every = 100;
    if (++changes % every == 0) OutputPluginUpdateProgress(ctx, false);
#else
    (void)ctx;
    (void)changes;
#endif
}

// How far WAL can be decoded at this moment (16 decodes on a standby too).
inline XLogRecPtr readable_wal_end() {
    return RecoveryInProgress() ? GetXLogReplayRecPtr(nullptr) : GetFlushRecPtr(nullptr);
}

inline TimeLineID current_timeline() {
    TimeLineID timeline = 0;
    if (RecoveryInProgress())
        GetXLogReplayRecPtr(&timeline);
    else
        GetFlushRecPtr(&timeline);
    return timeline;
}

// Wakes the backend of a virtual transaction; a stranger that has its place by now wakes for
// nothing.
inline void set_latch_of(const VirtualTransactionId& holder) {
#if PG_VERSION_NUM >= 170000
    PGPROC* proc = ProcNumberGetProc(holder.procNumber);
#else
    PGPROC* proc = BackendIdGetProc(holder.backendId);
#endif
    if (proc != nullptr) SetLatch(&proc->procLatch);
}

// What pg_stat_activity shows of a session in cqrs.wait_for().
inline uint32 wait_event() {
#if PG_VERSION_NUM >= 170000
    static uint32 event = 0;
    if (event == 0) event = WaitEventExtensionNew("CqrsWaitFor");
    return event;
#else
    return PG_WAIT_EXTENSION;
#endif
}

// Syntax only; the caller has checked the depth of nesting, else this could ERROR. Pallocs.
inline bool valid_json_syntax(const char* utf8, size_t size) {
    char* text = const_cast<char*>(utf8);
#if PG_VERSION_NUM >= 170000
    JsonLexContext* lex = makeJsonLexContextCstringLen(nullptr, text, size, PG_UTF8, false);
#else
    JsonLexContext* lex =
        makeJsonLexContextCstringLen(text, static_cast<int>(size), PG_UTF8, false);
#endif
    return pg_parse_json(lex, &nullSemAction) == JSON_SUCCESS;
}

}  // namespace cqrs
