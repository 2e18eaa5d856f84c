// Triggers on cqrs' own tables, ENABLE ALWAYS: whoever writes them (publish(), COPY, pg_restore, a
// replication origin), caches hear of it. A row in a user_catalog_table sends no invalidation
// itself.
#include "catalog.hpp"

extern "C" {
#include "access/htup_details.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/inval.h"

PG_FUNCTION_INFO_V1(cqrs_published_changed);
PG_FUNCTION_INFO_V1(cqrs_subscription_changed);
PG_FUNCTION_INFO_V1(cqrs_replica_identity_changed);
}

namespace {

TriggerData* trigger_data(FunctionCallInfo fcinfo) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("this function is only a trigger")));
    return reinterpret_cast<TriggerData*>(fcinfo->context);
}

Oid relation_of(HeapTuple row, TupleDesc desc) {
    bool is_null;
    return DatumGetObjectId(heap_getattr(row, 1, desc, &is_null));
}

}  // namespace

// After each row, and after TRUNCATE: the plugin's cached entry of the relation.
Datum cqrs_published_changed(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        TriggerData* data = trigger_data(fcinfo);
        TupleDesc desc = RelationGetDescr(data->tg_relation);
        if (!TRIGGER_FIRED_FOR_ROW(data->tg_event)) {
            CacheInvalidateRelcacheAll();
            return PointerGetDatum(nullptr);
        }
        Oid before = relation_of(data->tg_trigtuple, desc), after = before;
        if (TRIGGER_FIRED_BY_UPDATE(data->tg_event)) after = relation_of(data->tg_newtuple, desc);
        cqrs::invalidate_with_partitions(before);
        if (after != before) cqrs::invalidate_with_partitions(after);
        if (TRIGGER_FIRED_BY_INSERT(data->tg_event) || after != before)
            cqrs::resync_at_commit(after, "published with rows in it");
        return PointerGetDatum(nullptr);
    });
}

// After each statement: the applier listens.
Datum cqrs_subscription_changed(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        (void)trigger_data(fcinfo);
        Async_Notify("cqrs_subscription", "");
        return PointerGetDatum(nullptr);
    });
}

// After each statement: the command guard.
Datum cqrs_replica_identity_changed(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        CacheInvalidateRelcache(trigger_data(fcinfo)->tg_relation);
        return PointerGetDatum(nullptr);
    });
}
