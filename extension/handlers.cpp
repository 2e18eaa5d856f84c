// cqrs.on(), off() and call_handler(): functions that the applier calls with events.
//
// A handler runs as its owner, who registered it: whoever may call cqrs.on() gains nothing by the
// applier's rights.
#include "catalog.hpp"
#include "compat.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cqrs_handler_on);
PG_FUNCTION_INFO_V1(cqrs_handler_off);
PG_FUNCTION_INFO_V1(cqrs_call_handler);
}

namespace cqrs {
namespace {

bool word_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

// As the table's CHECK; here for the error's sake.
bool valid_pattern(const char* pattern) {
    if (strlen(pattern) > 100 || !word_character(*pattern) ||
        (*pattern >= '0' && *pattern <= '9') || *pattern == '_' || *pattern == '-')
        return false;
    const char* word = pattern;
    for (const char* at = pattern;; at++) {
        if (*at != '.' && *at != '\0') {
            const bool wildcard = (*at == '*' || *at == '#') && word != pattern && at == word &&
                                  (at[1] == '.' || at[1] == '\0');
            if (!wildcard && !word_character(*at)) return false;
            continue;
        }
        if (at == word) return false;
        const auto size = static_cast<size_t>(at - word);
        if (word == pattern && ((size == 4 && strncmp(word, "cqrs", 4) == 0) ||
                                (size == 9 && strncmp(word, "heartbeat", 9) == 0)))
            return false;
        if (*at == '\0') return true;
        word = at + 1;
    }
}

struct Function {
    Oid oid, owner;
    bool set_based;  // jsonb[]
};

// ERROR unless the caller owns it and it can be called with events.
Function checked_function(Oid oid) {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
    if (!HeapTupleIsValid(tuple))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
                        errmsg("function with OID %u does not exist", oid)));
    auto* form = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    const Oid argument = form->pronargs == 1 ? form->proargtypes.values[0] : InvalidOid;
    const bool callable = form->prokind == PROKIND_FUNCTION && !form->proretset &&
                          form->prorettype == VOIDOID &&
                          (argument == JSONBOID || argument == JSONBARRAYOID);
    Function function{oid, form->proowner, argument == JSONBARRAYOID};
    ReleaseSysCache(tuple);
    if (!owns_function(oid, GetUserId()))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("must be owner of function %s", format_procedure(oid)),
                        errdetail("A handler runs with the rights of its owner.")));
    if (!callable)
        ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
                        errmsg("%s cannot be a handler", format_procedure(oid)),
                        errdetail("A handler is a function of one argument, jsonb (an event) or "
                                  "jsonb[] (events in order), that returns void.")));
    return function;
}

struct Registration {
    Datum pattern;
    Oid handler;
};

// As cqrs.handler holds it, and as pg_event_trigger_dropped_objects() says it.
Datum stored_name(Oid handler) {
    return CStringGetTextDatum(format_procedure_extended(handler, FORMAT_PROC_FORCE_QUALIFY));
}

Registration checked_registration(FunctionCallInfo fcinfo) {
    if (PG_ARGISNULL(0))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("the type pattern must not be NULL")));
    if (PG_ARGISNULL(1))
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the handler must not be NULL")));
    return {PG_GETARG_DATUM(0), PG_GETARG_OID(1)};
}

void handler_on(const Registration& wanted, bool backfill) {
    const char* pattern = TextDatumGetCString(wanted.pattern);
    if (!valid_pattern(pattern))
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("invalid type pattern \"%s\"", pattern),
                 errdetail("Words of letters, digits, _ and -, separated by dots; * stands for one "
                           "word, # for any number of them. The first word, the topic, is neither "
                           "of them."),
                 errhint("For example parking.create, parking.* or parking.#.")));
    const char last = pattern[strlen(pattern) - 1];
    if (backfill && last != '*' && last != '#')
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a backfill needs a pattern that ends in * or #"),
                        errdetail("It begins with <prefix>.truncate, which says to forget what was "
                                  "there, and goes on with <prefix>.create.")));
    checked_function(wanted.handler);
    LockRelationOid(catalog_table("handler"), ShareRowExclusiveLock);
    Datum path = CStringGetTextDatum(GetConfigOption("search_path", false, false));
    CatalogWriter writer = begin_catalog_write();
    Oid types[] = {TEXTOID, TEXTOID, BOOLOID, TEXTOID, BOOLOID, BOOLOID};
    Datum arguments[] = {wanted.pattern, stored_name(wanted.handler),      BoolGetDatum(backfill),
                         path,           BoolGetDatum(creating_extension), BoolGetDatum(false)};
    // What stopped, or is to be backfilled now, begins anew; what runs is left alone.
    const bool anew =
        catalog_execute(
            "DELETE FROM cqrs.handler_state s USING cqrs.handler h WHERE s.pattern "
            "OPERATOR(pg_catalog.=) $1 AND s.handler OPERATOR(pg_catalog.=) $2 AND h.pattern "
            "OPERATOR(pg_catalog.=) $1 AND h.handler OPERATOR(pg_catalog.=) $2 AND (s.state "
            "OPERATOR(pg_catalog.=) 'stopped' OR h.backfill OPERATOR(pg_catalog.<) $3)",
            3, types, arguments) > 0;
    arguments[5] = BoolGetDatum(anew);
    if (catalog_execute(
            "INSERT INTO cqrs.handler AS h (pattern, handler, backfill, search_path, by_extension) "
            "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (pattern, handler) DO UPDATE SET backfill = "
            "EXCLUDED.backfill, search_path = EXCLUDED.search_path, registered_at = "
            "EXCLUDED.registered_at WHERE $6 OR h.backfill OPERATOR(pg_catalog.<>) "
            "EXCLUDED.backfill OR h.search_path OPERATOR(pg_catalog.<>) EXCLUDED.search_path",
            6, types, arguments) == 0)
        ereport(NOTICE, (errmsg("%s handles \"%s\" already, nothing to do",
                                format_procedure(wanted.handler), pattern)));
    end_catalog_write(writer);
}

void handler_off(const Registration& unwanted) {
    // Its owner may be gone with it.
    if (SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(unwanted.handler)))
        checked_function(unwanted.handler);
    CatalogWriter writer = begin_catalog_write();
    Oid types[] = {TEXTOID, TEXTOID};
    Datum arguments[] = {unwanted.pattern, stored_name(unwanted.handler)};
    if (catalog_execute("DELETE FROM cqrs.handler WHERE pattern OPERATOR(pg_catalog.=) $1 AND "
                        "handler OPERATOR(pg_catalog.=) $2",
                        2, types, arguments) == 0)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("%s does not handle \"%s\"", format_procedure(unwanted.handler),
                               TextDatumGetCString(unwanted.pattern)),
                        errhint("SELECT * FROM cqrs.handler_status; shows what is handled.")));
    catalog_execute(
        "DELETE FROM cqrs.handler_state WHERE pattern OPERATOR(pg_catalog.=) $1 AND "
        "handler OPERATOR(pg_catalog.=) $2",
        2, types, arguments);
    end_catalog_write(writer);
}

// ---- the call --------------------------------------------------------------------------------

// Between these a handler finds an ordinary session: the applier's own settings (triggers off,
// plans bent to its staging tables) would be a surprise. What the handler sets ends with it.
struct Rights {
    Oid user;
    int security_context, guc_level;
};

Rights become_owner(Oid owner, const char* search_path) {
    Rights before;
    GetUserIdAndSecContext(&before.user, &before.security_context);
    before.guc_level = NewGUCNestLevel();
    const auto set = [](const char* name, const char* value) {
        (void)set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
                                false);
    };
    set("session_replication_role", "origin");
    for (const char* name : {"row_security", "enable_hashjoin", "enable_mergejoin",
                             "enable_seqscan", "enable_indexscan", "enable_bitmapscan", "jit"})
        set(name, nullptr);
    set("search_path", search_path);
    // Restricted where it is somebody else: nothing may be left behind (deferred triggers, say)
    // that would run later as the applier.
    int context = before.security_context | SECURITY_LOCAL_USERID_CHANGE;
    if (owner != before.user) context |= SECURITY_RESTRICTED_OPERATION;
    SetUserIdAndSecContext(owner, context);
    return before;
}

void become_self(const Rights& before) {
    AtEOXact_GUC(false, before.guc_level);
    SetUserIdAndSecContext(before.user, before.security_context);
}

// For the CONTEXT of an error. events counts those of a set-based call.
struct Call {
    const char* handler;
    Jsonb* event;
    int events;
};

// Points into the event.
const char* attribute(Jsonb* event, const char* name, int* size) {
    JsonbValue value;
    *size = 0;
    if (!JB_ROOT_IS_OBJECT(event) ||
        getKeyJsonValueFromContainer(&event->root, name, static_cast<int>(strlen(name)), &value) ==
            nullptr ||
        value.type != jbvString)
        return "";
    *size = value.val.string.len;
    return value.val.string.val;
}

void say_where(void* argument) {
    auto* call = static_cast<Call*>(argument);
    if (call->event == nullptr) return;
    int id_size, type_size;
    const char* id = attribute(call->event, "id", &id_size);
    const char* type = attribute(call->event, "type", &type_size);
    if (call->events > 1)
        errcontext("handler %s, %d events from %.*s (%.*s)", call->handler, call->events, id_size,
                   id, type_size, type);
    else
        errcontext("handler %s, event %.*s (%.*s)", call->handler, id_size, id, type_size, type);
}

void call_with(const Function& function, Jsonb* events, Call* call) {
    FmgrInfo info;
    fmgr_info(function.oid, &info);
    LOCAL_FCINFO(inner, 1);
    InitFunctionCallInfoData(*inner, &info, 1, DEFAULT_COLLATION_OID, nullptr, nullptr);
    inner->args[0].isnull = false;

    MemoryContext each =
        AllocSetContextCreate(CurrentMemoryContext, "cqrs handler's event", ALLOCSET_DEFAULT_SIZES);
    Datum* array = nullptr;
    int count = 0;
    if (function.set_based)
        array = static_cast<Datum*>(MemoryContextAllocHuge(
            CurrentMemoryContext, sizeof(Datum) * Max(JB_ROOT_COUNT(events), 1)));
    JsonbIterator* iterator = JsonbIteratorInit(&events->root);
    JsonbValue value;
    JsonbIteratorToken token;
    while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE) {
        if (token != WJB_ELEM) continue;
        if (function.set_based) {
            array[count++] = JsonbPGetDatum(JsonbValueToJsonb(&value));
            continue;
        }
        MemoryContextReset(each);
        MemoryContext caller = MemoryContextSwitchTo(each);
        call->event = JsonbValueToJsonb(&value);
        call->events = 1;
        inner->isnull = false;
        inner->args[0].value = JsonbPGetDatum(call->event);
        (void)FunctionCallInvoke(inner);
        MemoryContextSwitchTo(caller);
        CHECK_FOR_INTERRUPTS();
    }
    if (function.set_based && count > 0) {
        call->event = DatumGetJsonbP(array[0]);
        call->events = count;
        inner->args[0].value =
            PointerGetDatum(construct_array(array, count, JSONBOID, -1, false, TYPALIGN_INT));
        (void)FunctionCallInvoke(inner);
    }
    call->event = nullptr;
    MemoryContextDelete(each);
}

// The registered search_path; nullptr: not a handler.
const char* registered_path(Oid handler) {
    CatalogWriter writer = begin_catalog_write();
    Oid types[] = {TEXTOID};
    Datum arguments[] = {stored_name(handler)};
    char* path = nullptr;
    if (catalog_execute("SELECT search_path FROM cqrs.handler WHERE handler "
                        "OPERATOR(pg_catalog.=) $1 ORDER BY registered_at LIMIT 1",
                        1, types, arguments) > 0) {
        const char* found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
        path = static_cast<char*>(SPI_palloc(strlen(found) + 1));
        strcpy(path, found);
    }
    end_catalog_write(writer);
    return path;
}

void call_handler(Oid handler, Jsonb* events) {
    const char* path = registered_path(handler);
    if (path == nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("function with OID %u is not a handler", handler)));
    if (!JB_ROOT_IS_ARRAY(events) || JB_ROOT_IS_SCALAR(events))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("events must be a JSON array of events")));
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(handler));
    if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for function %u", handler);
    auto* form = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    Function function{handler, form->proowner, form->proargtypes.values[0] == JSONBARRAYOID};
    ReleaseSysCache(tuple);

    Call call{format_procedure(handler), nullptr, 0};
    ErrorContextCallback where{error_context_stack, say_where, &call};
    error_context_stack = &where;
    Rights before = become_owner(function.owner, path);
    call_with(function, events, &call);
    become_self(before);
    error_context_stack = where.previous;
}

}  // namespace
}  // namespace cqrs

Datum cqrs_handler_on(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        const auto wanted = cqrs::checked_registration(fcinfo);
        if (PG_ARGISNULL(2))
            ereport(ERROR,
                    (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("backfill must not be NULL")));
        cqrs::handler_on(wanted, PG_GETARG_BOOL(2));
        return (Datum)0;
    });
}

Datum cqrs_handler_off(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        cqrs::handler_off(cqrs::checked_registration(fcinfo));
        return (Datum)0;
    });
}

Datum cqrs_call_handler(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        cqrs::call_handler(PG_GETARG_OID(0), PG_GETARG_JSONB_P(1));
        return (Datum)0;
    });
}
