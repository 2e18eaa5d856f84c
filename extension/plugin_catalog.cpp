#include "plugin_catalog.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace cqrs {
namespace {

enum { kRelation = 1, kPrefix, kNotify };  // cqrs.published's first columns

// The historic relcache still shows a table that was dropped since, but its file is gone: reading
// it would fail for ever. So look at today's pg_class first.
bool exists_today(Oid relation) {
    Relation classes = table_open(RelationRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(relation));
    Snapshot today = RegisterSnapshot(GetNonHistoricCatalogSnapshot(RelationRelationId));
    SysScanDesc scan = systable_beginscan(classes, ClassOidIndexId, true, today, 1, &key);
    const bool exists = HeapTupleIsValid(systable_getnext(scan));
    systable_endscan(scan);
    UnregisterSnapshot(today);
    table_close(classes, AccessShareLock);
    return exists;
}

bool has_our_columns(Relation published) {
    TupleDesc columns = RelationGetDescr(published);
    return RelationIsAccessibleInLogicalDecoding(published) && columns->natts >= kNotify &&
           TupleDescAttr(columns, kRelation - 1)->atttypid == REGCLASSOID &&
           TupleDescAttr(columns, kPrefix - 1)->atttypid == TEXTOID &&
           TupleDescAttr(columns, kNotify - 1)->atttypid == BOOLOID;
}

// Null if the extension is not there, or no longer.
Relation open_published() {
    const Oid schema = get_namespace_oid("cqrs", true);
    const Oid oid = OidIsValid(schema) ? get_relname_relid("published", schema) : InvalidOid;
    if (!OidIsValid(oid) || !exists_today(oid)) return nullptr;
    Relation published = table_open(oid, AccessShareLock);
    if (has_our_columns(published)) return published;
    table_close(published, AccessShareLock);
    return nullptr;
}

bool belongs_to(ReorderBufferTXN* txn, TransactionId xid) {
    if (!TransactionIdIsNormal(xid)) return false;
    if (txn->xid == xid) return true;
    // dlist_foreach() is C only. A list that was never used has null links.
    const dlist_node* head = &txn->subtxns.head;
    for (const dlist_node* at = head->next; at && at != head; at = at->next) {
        auto* part = reinterpret_cast<const char*>(at) - offsetof(ReorderBufferTXN, node);
        if (reinterpret_cast<const ReorderBufferTXN*>(part)->xid == xid) return true;
    }
    return false;
}

bool created_by(ReorderBufferTXN* txn, HeapTuple tuple) {
    return belongs_to(txn, HeapTupleHeaderGetXmin(tuple->t_data));
}

bool replaced_by(ReorderBufferTXN* txn, HeapTuple tuple) {
    const HeapTupleHeader header = tuple->t_data;
    return !(header->t_infomask & HEAP_XMAX_INVALID) &&
           !HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
           belongs_to(txn, HeapTupleHeaderGetUpdateXid(header));
}

// Copies the row; false if it is not one that publish() has written.
bool read_row(Relation published, HeapTuple tuple, Publication& row) {
    TupleDesc columns = RelationGetDescr(published);
    bool null_relation, null_prefix, null_notify;
    const Datum relation = heap_getattr(tuple, kRelation, columns, &null_relation);
    const Datum prefix = heap_getattr(tuple, kPrefix, columns, &null_prefix);
    const Datum notify = heap_getattr(tuple, kNotify, columns, &null_notify);
    if (null_relation || null_prefix || null_notify) return false;
    Pointer text = DatumGetPointer(prefix);
    if (VARATT_IS_EXTERNAL(text) || VARATT_IS_COMPRESSED(text)) return false;
    const std::string_view bytes(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
    if (!valid_prefix(bytes)) return false;
    row.relation = DatumGetObjectId(relation);
    row.notify = DatumGetBool(notify);
    memcpy(row.prefix, bytes.data(), bytes.size());
    row.prefix[bytes.size()] = '\0';
    return true;
}

// Calls row(publication, tuple) for what the snapshot sees; null is the historic one. A heap scan:
// the index of a user catalog table has no historic storage, after a REINDEX its old file is gone.
// The table is short and the answers are cached.
template <class F>
void for_each_row(Relation published, Snapshot snapshot, F&& row) {
    SysScanDesc scan = systable_beginscan(published, InvalidOid, false, snapshot, 0, nullptr);
    HeapTuple tuple;
    while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
        Publication publication;
        if (read_row(published, tuple, publication)) row(publication, tuple);
    }
    systable_endscan(scan);
}

}  // namespace

bool find_publication(ReorderBufferTXN* txn, const Oid* relations, int count, Publication& found) {
    Relation published = open_published();
    if (!published) return false;
    int best = -1;
    bool own = false;
    auto consider = [&](const Publication& row) {
        for (int i = best + 1; i < count; i++) {
            if (relations[i] != row.relation) continue;
            best = i;
            found = row;
        }
    };
    auto known = [&](const Publication& row) {
        for (int i = 0; i < count; i++)
            if (relations[i] == row.relation) return true;
        return false;
    };
    for_each_row(published, nullptr, [&](const Publication& row, HeapTuple tuple) {
        if (!created_by(txn, tuple))
            consider(row);
        else if (known(row))
            own = true;
    });
    // What the transaction has deleted or replaced itself is kept for its slot: read it as it was.
    if (rbtxn_has_catalog_changes(txn)) {
        for_each_row(published, SnapshotAny, [&](const Publication& row, HeapTuple tuple) {
            if (!known(row) || created_by(txn, tuple) || !replaced_by(txn, tuple)) return;
            own = true;
            consider(row);
        });
    }
    table_close(published, AccessShareLock);
    found.until_commit = own;
    return best >= 0;
}

bool find_prefix(ReorderBufferTXN* txn, std::string_view prefix, Publication& found) {
    Relation published = open_published();
    if (!published) return false;
    for_each_row(published, nullptr, [&](const Publication& row, HeapTuple) {
        if (prefix == row.prefix) found = row;
    });
    if (!OidIsValid(found.relation) && rbtxn_has_catalog_changes(txn)) {
        for_each_row(published, SnapshotAny, [&](const Publication& row, HeapTuple tuple) {
            if (prefix == row.prefix && replaced_by(txn, tuple)) found = row;
        });
    }
    table_close(published, AccessShareLock);
    return OidIsValid(found.relation);
}

}  // namespace cqrs
