// cqrs.require_fresh(): refuses answers older than the setting cqrs.max_staleness.
#include "catalog.hpp"
#include "module.hpp"

extern "C" {
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cqrs_require_fresh);
}

namespace cqrs {
namespace {

// Of a class that Postgres does not use: a driver can tell it from everything else.
constexpr int too_stale = MAKE_SQLSTATE('C', 'Q', '0', '0', '1');

int max_staleness_ms = 0;

// What this statement sees: read with its snapshot, as its rows are.
void require_fresh(Oid relation) {
    CatalogWriter reader = begin_catalog_write();
    Oid types[] = {OIDOID};
    Datum arguments[] = {ObjectIdGetDatum(relation)};
    int code = SPI_execute_with_args(
        "SELECT topic, cqrs.staleness(topic), cqrs.staleness(topic)::text FROM cqrs.subscription "
        "WHERE relation = $1",
        1, types, arguments, nullptr, true, 1);
    if (code != SPI_OK_SELECT) elog(ERROR, "SPI failed: %s", SPI_result_code_string(code));
    if (SPI_processed == 1) {
        HeapTuple row = SPI_tuptable->vals[0];
        TupleDesc desc = SPI_tuptable->tupdesc;
        const char* topic = SPI_getvalue(row, desc, 1);
        bool unknown;
        Datum value = SPI_getbinval(row, desc, 2, &unknown);
        const Interval* staleness = unknown ? nullptr : DatumGetIntervalP(value);
        const char* limit = GetConfigOption("cqrs.max_staleness", false, false);
        if (staleness == nullptr)
            ereport(ERROR,
                    (errcode(too_stale),
                     errmsg("how stale %s is on this replica is not known", table_name(relation)),
                     errdetail("Topic \"%s\" is not complete yet, or no heartbeat of the "
                               "relay has come; cqrs.max_staleness is %s ms.",
                               topic, limit),
                     errhint("Ask the primary, or try again; cqrs-replicator status shows "
                             "what is missing.")));
        // No months in a difference of two timestamps.
        const int64 us = staleness->day * USECS_PER_DAY + staleness->time;
        if (us > static_cast<int64>(max_staleness_ms) * 1000)
            ereport(
                ERROR,
                (errcode(too_stale),
                 errmsg("%s is too stale on this replica", table_name(relation)),
                 errdetail("Topic \"%s\" may be %s behind the primary; cqrs.max_staleness is %s "
                           "ms.",
                           topic, SPI_getvalue(row, desc, 3), limit),
                 errhint("Ask the primary, or try again; cqrs-replicator status shows where "
                         "events wait.")));
    }
    end_catalog_write(reader);
}

}  // namespace
}  // namespace cqrs

void staleness_init() {
    DefineCustomIntVariable(
        "cqrs.max_staleness", "Queries on a replica refuse answers that may be older.",
        "The error has the SQLSTATE CQ001. It concerns the queries of parking, and those that call "
        "cqrs.require_fresh(). 0: any age will do.",
        &cqrs::max_staleness_ms, 0, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS, nullptr, nullptr,
        nullptr);
}

Datum cqrs_require_fresh(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&]() -> Datum {
        if (cqrs::max_staleness_ms == 0) PG_RETURN_BOOL(true);
        Oid relation = PG_GETARG_OID(0);
        // A partition is as fresh as the table that is subscribed.
        if (!cqrs::find_subscribed(relation) && get_rel_relispartition(relation)) {
            ListCell* cell;
            foreach (cell, get_partition_ancestors(relation))
                if (cqrs::find_subscribed(lfirst_oid(cell))) relation = lfirst_oid(cell);
        }
        cqrs::require_fresh(relation);
        PG_RETURN_BOOL(true);
    });
}
