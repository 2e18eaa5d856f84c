// Contract 5: a command called on a replica fails. register_replica() marks the database; the guard
// is one flag per backend, forgotten when cqrs.replica_identity changes.
#include "catalog.hpp"
#include "module.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(cqrs_register_replica);
PG_FUNCTION_INFO_V1(cqrs_deregister_replica);
PG_FUNCTION_INFO_V1(cqrs_require_primary);
}

namespace cqrs {
namespace {

struct Guard {
    bool known = false;
    bool replica = false;
    Oid identity = InvalidOid;  // cqrs.replica_identity
};
Guard guard;

void forget(Datum, Oid relation) {
    if (relation == InvalidOid || relation == guard.identity) guard.known = false;
}

// The replica's name, palloc'd, or nullptr on a database that is none.
char* replica_name() {
    Oid table = catalog_table("replica_identity");
    if (!OidIsValid(table)) return nullptr;
    Relation rel = table_open(table, AccessShareLock);
    SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, nullptr, 0, nullptr);
    HeapTuple row = systable_getnext(scan);
    char* name = nullptr;
    if (HeapTupleIsValid(row)) {
        bool is_null;
        name = TextDatumGetCString(heap_getattr(row, 1, RelationGetDescr(rel), &is_null));
    }
    systable_endscan(scan);
    table_close(rel, AccessShareLock);
    return name;
}

bool is_replica() {
    if (!guard.known) {
        guard.identity = catalog_table("replica_identity");
        guard.known = true;  // before the read: an invalidation that comes during it must win
        guard.replica = replica_name() != nullptr;
    }
    return guard.replica;
}

bool subscribed(Oid relation) {
    if (find_subscribed(relation)) return true;
    if (!get_rel_relispartition(relation)) return false;
    ListCell* cell;
    foreach (cell, get_partition_ancestors(relation))
        if (find_subscribed(lfirst_oid(cell))) return true;
    return false;
}

bool valid_replica_name(const char* name) {
    size_t length = strlen(name);
    return length >= 1 && length <= 63 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") ==
               length;
}

}  // namespace

void replica_init() {
    CacheRegisterRelcacheCallback(forget, (Datum)0);
}

void refuse_on_replica(Oid relation, const char* command) {
    LockRelationOid(relation, RowExclusiveLock);  // takes in invalidations
    if (likely(!is_replica()) || !subscribed(relation)) return;
    const char* name = replica_name();
    ereport(
        ERROR,
        (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
         errmsg("cannot execute %s on a replica", command),
         errdetail("This database is the replica \"%s\": table %s is written by cqrs-replicator.",
                   name ? name : "", table_name(relation)),
         errhint("Connect to the primary database for commands.")));
}

}  // namespace cqrs

void replica_init() {
    CacheRegisterRelcacheCallback(cqrs::forget, (Datum)0);
}

Datum cqrs_register_replica(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        if (PG_ARGISNULL(0))
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                            errmsg("the replica's name must not be NULL")));
        char* name = text_to_cstring(PG_GETARG_TEXT_PP(0));
        if (!cqrs::valid_replica_name(name))
            ereport(
                ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("invalid name of a replica: \"%s\"", name),
                 errdetail("A name has 1 to 63 letters, digits, underscores or hyphens, no dot.")));
        const char* current = cqrs::replica_name();
        if (current != nullptr && strcmp(current, name) == 0) return (Datum)0;
        if (current != nullptr)
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("this database is already the replica \"%s\"", current),
                            errhint("To rename it, stop its applier and call "
                                    "cqrs.deregister_replica() first.")));
        cqrs::CatalogWriter writer = cqrs::begin_catalog_write();
        // A command that is on its way finishes first; one that comes later sees the mark.
        cqrs::catalog_execute("SELECT relation::pg_catalog.oid FROM cqrs.subscription ORDER BY 1",
                              0, nullptr, nullptr);
        for (uint64 i = 0; i < SPI_processed; i++) {
            bool is_null;
            cqrs::lock_with_partitions(
                DatumGetObjectId(
                    SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null)),
                ShareRowExclusiveLock);
        }
        Oid types[] = {TEXTOID};
        Datum arguments[] = {PG_GETARG_DATUM(0)};
        cqrs::catalog_execute("INSERT INTO cqrs.replica_identity (name) VALUES ($1)", 1, types,
                              arguments);
        cqrs::end_catalog_write(writer);
        return (Datum)0;
    });
}

Datum cqrs_deregister_replica(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    return cqrs::guarded([] {
        cqrs::CatalogWriter writer = cqrs::begin_catalog_write();
        if (cqrs::catalog_execute("DELETE FROM cqrs.replica_identity", 0, nullptr, nullptr) == 0)
            ereport(NOTICE, (errmsg("this database is no replica, nothing to do")));
        cqrs::end_catalog_write(writer);
        return (Datum)0;
    });
}

// For commands that are not written in C++.
Datum cqrs_require_primary(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        if (PG_ARGISNULL(0))
            ereport(ERROR,
                    (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be NULL")));
        Oid relation = PG_GETARG_OID(0);
        // It locks the table as a writer does, so the caller must be one.
        AclResult allowed =
            pg_class_aclcheck(relation, GetUserId(), ACL_INSERT | ACL_UPDATE | ACL_DELETE);
        if (allowed != ACLCHECK_OK) aclcheck_error(allowed, OBJECT_TABLE, get_rel_name(relation));
        cqrs::refuse_on_replica(relation, "a command");
        return (Datum)0;
    });
}
