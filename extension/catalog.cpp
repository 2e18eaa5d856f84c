// Lookups in and writes of cqrs' own tables, and the transaction's resync markers.
#include "catalog.hpp"

#include "compat.hpp"
#include "module.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace cqrs {

Oid catalog_table(const char* name) {
    Oid schema = get_namespace_oid("cqrs", true);
    return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

const char* table_name(Oid relation) {
    char* name = get_rel_name(relation);
    if (name == nullptr) return psprintf("%u", relation);
    return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), name);
}

namespace {

// Columns of cqrs.published and cqrs.subscription, by number.
constexpr AttrNumber published_relation = 1, published_prefix = 2, published_notify = 3;
constexpr AttrNumber subscription_prefix = 1, subscription_relation = 2;

// The first row of a table of cqrs whose column equals the key, read with a snapshot taken now.
// `found` is called with it. The tables are small; a sequential scan needs no index to be named.
template <class Found>
bool find_row(const char* table, AttrNumber column, RegProcedure equals, Datum key, Found&& found) {
    Oid oid = catalog_table(table);
    if (!OidIsValid(oid)) return false;
    Relation rel = table_open(oid, AccessShareLock);
    ScanKeyData scan_key;
    ScanKeyEntryInitialize(&scan_key, 0, column, InvalidStrategy, InvalidOid, C_COLLATION_OID,
                           equals, key);
    SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, nullptr, 1, &scan_key);
    HeapTuple row = systable_getnext(scan);
    if (HeapTupleIsValid(row)) found(row, RelationGetDescr(rel));
    systable_endscan(scan);
    table_close(rel, AccessShareLock);
    return HeapTupleIsValid(row);
}

Datum column_of(HeapTuple row, AttrNumber column, TupleDesc desc) {
    bool is_null;
    return heap_getattr(row, column, desc, &is_null);
}

}  // namespace

bool find_published(Oid relation, Published* out) {
    return find_row("published", published_relation, F_OIDEQ, ObjectIdGetDatum(relation),
                    [&](HeapTuple row, TupleDesc desc) {
                        char* prefix = TextDatumGetCString(column_of(row, published_prefix, desc));
                        strlcpy(out->prefix, prefix, sizeof out->prefix);
                        out->notify = DatumGetBool(column_of(row, published_notify, desc));
                    });
}

List* published_relations() {
    Oid oid = catalog_table("published");
    if (!OidIsValid(oid)) return NIL;
    List* relations = NIL;
    Relation rel = table_open(oid, AccessShareLock);
    SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, nullptr, 0, nullptr);
    HeapTuple row;
    while (HeapTupleIsValid(row = systable_getnext(scan)))
        relations = lappend_oid(
            relations, DatumGetObjectId(column_of(row, published_relation, RelationGetDescr(rel))));
    systable_endscan(scan);
    table_close(rel, AccessShareLock);
    return relations;
}

bool find_published_prefix(const char* prefix, Oid* relation) {
    return find_row("published", published_prefix, F_TEXTEQ, CStringGetTextDatum(prefix),
                    [&](HeapTuple row, TupleDesc desc) {
                        *relation = DatumGetObjectId(column_of(row, published_relation, desc));
                    });
}

bool find_subscribed(Oid relation) {
    return find_row("subscription", subscription_relation, F_OIDEQ, ObjectIdGetDatum(relation),
                    [](HeapTuple, TupleDesc) {});
}

bool find_subscribed_prefix(const char* prefix, Oid* relation) {
    return find_row("subscription", subscription_prefix, F_TEXTEQ, CStringGetTextDatum(prefix),
                    [&](HeapTuple row, TupleDesc desc) {
                        *relation = DatumGetObjectId(column_of(row, subscription_relation, desc));
                    });
}

Oid published_root(Oid relation, Published* out) {
    if (find_published(relation, out)) return relation;
    if (!get_rel_relispartition(relation)) return InvalidOid;
    ListCell* cell;
    foreach (cell, get_partition_ancestors(relation))
        if (find_published(lfirst_oid(cell), out)) return lfirst_oid(cell);
    return InvalidOid;
}

CatalogWriter begin_catalog_write() {
    CatalogWriter writer{};
    Oid table = catalog_table("published");
    if (!OidIsValid(table))
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table cqrs.published does not exist"),
                 errhint("Run CREATE EXTENSION pg_cqrs in this database.")));
    Relation rel = table_open(table, AccessShareLock);
    Oid owner = rel->rd_rel->relowner;
    table_close(rel, AccessShareLock);
    GetUserIdAndSecContext(&writer.user, &writer.security_context);
    SetUserIdAndSecContext(owner, writer.security_context | SECURITY_LOCAL_USERID_CHANGE);
    writer.guc_level = NewGUCNestLevel();
    (void)set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
                            GUC_ACTION_SAVE, true, 0, false);
    if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
    return writer;
}

void end_catalog_write(const CatalogWriter& writer) {
    SPI_finish();
    AtEOXact_GUC(false, writer.guc_level);
    SetUserIdAndSecContext(writer.user, writer.security_context);
}

uint64 catalog_execute(const char* sql, int count, const Oid* types, const Datum* arguments) {
    int code = SPI_execute_with_args(sql, count, const_cast<Oid*>(types),
                                     const_cast<Datum*>(arguments), nullptr, false, 0);
    if (code < 0) elog(ERROR, "SPI failed: %s: %s", SPI_result_code_string(code), sql);
    return SPI_processed;
}

void invalidate_with_partitions(Oid relation) {
    if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation))) return;
    CacheInvalidateRelcacheByRelid(relation);
    if (get_rel_relkind(relation) != RELKIND_PARTITIONED_TABLE) return;
    ListCell* cell;
    foreach (cell, find_all_inheritors(relation, NoLock, nullptr))
        if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(cell))))
            CacheInvalidateRelcacheByRelid(lfirst_oid(cell));
}

void lock_with_partitions(Oid relation, int mode) {
    LockRelationOid(relation, mode);
    if (get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE)
        list_free(find_all_inheritors(relation, mode, nullptr));
}

bool has_rows(Oid relation) {
    List* tables = get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE
                       ? find_all_inheritors(relation, AccessShareLock, nullptr)
                       : list_make1_oid(relation);
    ListCell* cell;
    foreach (cell, tables) {
        Relation rel = try_relation_open(lfirst_oid(cell), AccessShareLock);
        if (rel == nullptr) continue;
        bool rows = RELKIND_HAS_STORAGE(rel->rd_rel->relkind) && RelationGetNumberOfBlocks(rel) > 0;
        relation_close(rel, AccessShareLock);
        if (rows) return true;
    }
    return false;
}

namespace {

struct Resync {
    Oid relation;
    const char* reason;
    bool lost_rows;
};
// Of this transaction, in TopTransactionContext. What a rolled-back savepoint added stays: a table
// that is copied once too often is a lesser evil than one that is not.
List* resyncs = NIL;

void write_resync(const Resync& resync) {
    Published row;
    if (!find_published(resync.relation, &row)) return;
    if (!resync.lost_rows && !has_rows(resync.relation)) return;
    size_t prefix_size = strlen(row.prefix) + 1, reason_size = strlen(resync.reason);
    char* bytes = static_cast<char*>(palloc(prefix_size + reason_size));
    memcpy(bytes, row.prefix, prefix_size);
    memcpy(bytes + prefix_size, resync.reason, reason_size);
    log_transactional_message("cqrs.resync", bytes, prefix_size + reason_size);
    pfree(bytes);
}

void at_transaction_end(XactEvent event, void*) {
    if (resyncs == NIL || event == XACT_EVENT_PARALLEL_PRE_COMMIT) return;
    List* due = resyncs;
    resyncs = NIL;
    if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE) return;
    ListCell* cell;
    foreach (cell, due) write_resync(*static_cast<Resync*>(lfirst(cell)));
}

}  // namespace

void resync_at_commit(Oid relation, const char* reason, bool lost_rows) {
    ListCell* cell;
    foreach (cell, resyncs) {
        auto* known = static_cast<Resync*>(lfirst(cell));
        if (known->relation != relation) continue;
        known->lost_rows |= lost_rows;
        return;
    }
    MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
    auto* resync = static_cast<Resync*>(palloc(sizeof(Resync)));
    *resync = {relation, reason, lost_rows};
    resyncs = lappend(resyncs, resync);
    MemoryContextSwitchTo(caller);
}

}  // namespace cqrs

void catalog_init() {
    RegisterXactCallback(cqrs::at_transaction_end, nullptr);
    cqrs::replica_init();
    cqrs::ddl_init();
}
