// cqrs.retain(), forget(): rows of cqrs.retention. The relay makes streams of them.
#include "catalog.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cqrs_retain);
PG_FUNCTION_INFO_V1(cqrs_forget);
}

namespace cqrs {
namespace {

constexpr int64 least_bytes = 1024 * 1024;

// As the table's CHECK; here for the error's sake.
void check_topic(const char* topic) {
    constexpr const char* letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    constexpr const char* others =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    const size_t size = strlen(topic);
    if (size >= 1 && size <= kMaxPrefix && strspn(topic, letters) >= 1 &&
        strspn(topic, others) == size && strcmp(topic, "cqrs") != 0 &&
        strcmp(topic, "heartbeat") != 0)
        return;
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid topic \"%s\"", topic),
                    errdetail("A topic is the first word of prefixes: for \"shop.order\" it is "
                              "\"shop\".")));
}

Datum checked_topic(FunctionCallInfo fcinfo) {
    if (PG_ARGISNULL(0))
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the topic must not be NULL")));
    check_topic(TextDatumGetCString(PG_GETARG_DATUM(0)));
    return PG_GETARG_DATUM(0);
}

struct Limits {
    const Interval* age;  // nullptr: none
    int64 bytes;          // 0: none
};

Limits checked_limits(FunctionCallInfo fcinfo) {
    const Limits limits{PG_ARGISNULL(1) ? nullptr : PG_GETARG_INTERVAL_P(1),
                        PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2)};
    if (limits.age == nullptr && PG_ARGISNULL(2))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("max_age and max_bytes must not both be NULL"),
                        errhint("Without a limit the history would fill the broker's disk.")));
    if (limits.age != nullptr &&
        limits.age->time + (limits.age->day + limits.age->month * 30.0) * USECS_PER_DAY <
            USECS_PER_SEC)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("max_age must be at least one second")));
    if (!PG_ARGISNULL(2) && limits.bytes < least_bytes)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("max_bytes must be at least %d", static_cast<int>(least_bytes))));
    return limits;
}

bool any(const char* sql, Datum topic) {
    Oid types[] = {TEXTOID};
    return catalog_execute(sql, 1, types, &topic) > 0;
}

void retain(Datum topic, const Limits& limits) {
    const char* name = TextDatumGetCString(topic);
    LockRelationOid(catalog_table("retention"), ShareRowExclusiveLock);
    CatalogWriter writer = begin_catalog_write();
    const bool known =
        any("SELECT FROM cqrs.retention WHERE topic OPERATOR(pg_catalog.=) $1", topic);
    const bool declared =
        any("SELECT FROM cqrs.retention_state WHERE topic OPERATOR(pg_catalog.=) $1 AND state "
            "OPERATOR(pg_catalog.=) 'kept'",
            topic);
    if (!known && declared)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                        errmsg("the history of topic \"%s\" is being forgotten", name),
                        errhint("Call it again when the relay has deleted the stream: "
                                "cqrs.retention_status does not show it any more then.")));
    Interval none{};
    Oid types[] = {TEXTOID, INTERVALOID, INT8OID};
    Datum arguments[] = {topic, IntervalPGetDatum(limits.age ? limits.age : &none),
                         Int64GetDatum(limits.bytes)};
    const char* age = "CASE WHEN $2 OPERATOR(pg_catalog.<>) '0'::interval THEN $2 END";
    const char* bytes = "CASE WHEN $3 OPERATOR(pg_catalog.<>) 0 THEN $3 END";
    if (catalog_execute(psprintf("SELECT FROM cqrs.retention WHERE topic OPERATOR(pg_catalog.=) $1 "
                                 "AND max_age IS NOT DISTINCT FROM %s AND max_bytes IS NOT "
                                 "DISTINCT FROM %s",
                                 age, bytes),
                        3, types, arguments) > 0) {
        ereport(NOTICE,
                (errmsg("the events of topic \"%s\" are kept already, nothing to do", name)));
    } else if (declared) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("the events of topic \"%s\" are kept already, with other limits", name),
                 errdetail("A stream keeps the limits that it was declared with."),
                 errhint("On the broker a policy overrides them and loses nothing: rabbitmqctl "
                         "set_policy NAME '^CQRS_HISTORY\\.%s$' '{\"max-age\": \"7D\"}' --apply-to "
                         "queues. Or SELECT cqrs.forget('%s'); which deletes the history, and "
                         "begin a new one.",
                         name, name)));
    } else {
        catalog_execute(psprintf("INSERT INTO cqrs.retention (topic, max_age, max_bytes) VALUES "
                                 "($1, %s, %s) ON CONFLICT (topic) DO UPDATE SET max_age = "
                                 "EXCLUDED.max_age, max_bytes = EXCLUDED.max_bytes",
                                 age, bytes),
                        3, types, arguments);
    }
    end_catalog_write(writer);
}

void forget(Datum topic) {
    CatalogWriter writer = begin_catalog_write();
    if (!any("DELETE FROM cqrs.retention WHERE topic OPERATOR(pg_catalog.=) $1", topic))
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_OBJECT),
                 errmsg("the events of topic \"%s\" are not kept", TextDatumGetCString(topic)),
                 errhint("SELECT * FROM cqrs.retention_status; shows which are.")));
    end_catalog_write(writer);
}

}  // namespace
}  // namespace cqrs

Datum cqrs_retain(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        const Datum topic = cqrs::checked_topic(fcinfo);
        cqrs::retain(topic, cqrs::checked_limits(fcinfo));
        return (Datum)0;
    });
}

Datum cqrs_forget(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        cqrs::forget(cqrs::checked_topic(fcinfo));
        return (Datum)0;
    });
}
