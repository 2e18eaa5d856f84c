// Event triggers: what DDL does to published and subscribed tables. They note a resync marker where
// rows change without an event, forget dropped tables, and refuse what would end the events.
#include "catalog.hpp"
#include "identity.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cqrs_on_ddl);
}

namespace cqrs {
namespace {

// The partitions of published tables before a DROP: when sql_drop names a partition, its parent
// can no longer be asked for. Lives in TopTransactionContext.
struct Partition {
    Oid relation;  // the key
    Oid root;
};
HTAB* partitions = nullptr;

void forget_partitions(XactEvent, void*) {
    partitions = nullptr;
}

void remember_partitions() {
    ListCell *root, *leaf;
    foreach (root, published_relations()) {
        if (get_rel_relkind(lfirst_oid(root)) != RELKIND_PARTITIONED_TABLE) continue;
        if (partitions == nullptr) {
            HASHCTL control{};
            control.keysize = sizeof(Oid);
            control.entrysize = sizeof(Partition);
            control.hcxt = TopTransactionContext;
            partitions =
                hash_create("cqrs partitions", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
        }
        foreach (leaf, find_all_inheritors(lfirst_oid(root), NoLock, nullptr)) {
            Oid relation = lfirst_oid(leaf);
            bool found;
            auto* partition =
                static_cast<Partition*>(hash_search(partitions, &relation, HASH_ENTER, &found));
            partition->root = lfirst_oid(root);
        }
    }
}

// Its rows in cqrs' tables; an OID can be used again.
void forget_table(Oid relation) {
    Published row;
    Oid types[] = {OIDOID};
    Datum arguments[] = {ObjectIdGetDatum(relation)};
    if (find_published(relation, &row))
        catalog_execute("DELETE FROM cqrs.published WHERE relation OPERATOR(pg_catalog.=) $1", 1,
                        types, arguments);
    if (!find_subscribed(relation)) return;
    catalog_execute("DELETE FROM cqrs.subscription_state WHERE relation OPERATOR(pg_catalog.=) $1",
                    1, types, arguments);
    catalog_execute("DELETE FROM cqrs.subscription WHERE relation OPERATOR(pg_catalog.=) $1", 1,
                    types, arguments);
}

// A handler that goes with its schema or extension is forgotten. One that is dropped by name is
// more likely to be made anew in a moment, and would miss every event from then on.
void forget_function(const char* identity, bool by_name) {
    Oid types[] = {TEXTOID};
    Datum arguments[] = {CStringGetTextDatum(identity)};
    if (catalog_execute("SELECT pattern FROM cqrs.handler WHERE handler OPERATOR(pg_catalog.=) $1",
                        1, types, arguments) == 0)
        return;
    const char* pattern = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
    if (by_name)
        ereport(ERROR,
                (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
                 errmsg("cannot drop the function: it handles \"%s\"", pattern),
                 errhint("SELECT cqrs.off('%s', ...); first, or CREATE OR REPLACE it.", pattern)));
    catalog_execute("DELETE FROM cqrs.handler_state WHERE handler OPERATOR(pg_catalog.=) $1", 1,
                    types, arguments);
    catalog_execute("DELETE FROM cqrs.handler WHERE handler OPERATOR(pg_catalog.=) $1", 1, types,
                    arguments);
}

void check_still_publishable(Oid relation) {
    Published row;
    Oid root = published_root(relation, &row);
    if (OidIsValid(root)) check_table(root, Use::keep);
}

// An index without a constraint does not say which table it was of.
void check_identity_indexes() {
    ListCell* cell;
    foreach (cell, published_relations()) {
        HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(cell)));
        if (!HeapTupleIsValid(tuple)) continue;
        auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
        bool check = form->relreplident == REPLICA_IDENTITY_INDEX ||
                     form->relkind == RELKIND_PARTITIONED_TABLE;
        ReleaseSysCache(tuple);
        if (check) check_table(lfirst_oid(cell), Use::keep);
    }
}

// DROP INDEX CONCURRENTLY cannot be undone any more when it is over.
void before_drop_index(const DropStmt* statement) {
    ListCell* cell;
    foreach (cell, statement->objects) {
        RangeVar* name = makeRangeVarFromNameList(static_cast<List*>(lfirst(cell)));
        Oid index = RangeVarGetRelid(name, NoLock, true);
        HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
        if (!HeapTupleIsValid(tuple)) continue;
        auto* form = reinterpret_cast<Form_pg_index>(GETSTRUCT(tuple));
        Oid relation = form->indisreplident ? form->indrelid : InvalidOid;
        ReleaseSysCache(tuple);
        Published row;
        Oid root = OidIsValid(relation) ? published_root(relation, &row) : InvalidOid;
        if (!OidIsValid(root)) continue;
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("published table %s would be left without its replica identity index",
                        table_name(relation)),
                 errdetail("Its UPDATEs and DELETEs would not say which row they change."),
                 errhint("Give it another REPLICA IDENTITY first, or SELECT cqrs.unpublish(%s);",
                         quote_literal_cstr(table_name(root)))));
    }
}

// Postgres cannot decode changes of cqrs.published once that table is gone: a slot that has them
// before it would fail with every attempt, and keep WAL, until somebody drops it.
void before_drop_extension(const DropStmt* statement) {
    bool ours = false;
    ListCell* cell;
    foreach (cell, statement->objects) ours = ours || strcmp(strVal(lfirst(cell)), "pg_cqrs") == 0;
    if (!ours) return;
    CatalogWriter writer = begin_catalog_write();
    uint64 count = catalog_execute(
        "SELECT slot_name, plugin FROM pg_catalog.pg_get_replication_slots()"
        " WHERE datoid OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database"
        "   WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
        " ORDER BY plugin OPERATOR(pg_catalog.=) 'pg_cqrs', slot_name",
        0, nullptr, nullptr);
    SPITupleTable* rows = SPI_tuptable;
    for (uint64 i = 0; i < count; i++) {
        char* slot = SPI_getvalue(rows->vals[i], rows->tupdesc, 1);
        char* plugin = SPI_getvalue(rows->vals[i], rows->tupdesc, 2);
        if (strcmp(plugin, "pg_cqrs") == 0)
            ereport(ERROR,
                    (errcode(ERRCODE_OBJECT_IN_USE),
                     errmsg("cannot drop extension pg_cqrs while replication slot \"%s\" uses it",
                            slot),
                     errdetail("The slot could not be read any further."),
                     errhint("Stop the relay, then SELECT pg_drop_replication_slot(%s);",
                             quote_literal_cstr(slot))));
        ereport(
            WARNING,
            (errmsg("replication slot \"%s\" (%s) may not be readable any further", slot, plugin),
             errdetail("No slot of this database can be read over changes of cqrs.published, "
                       "once that table is gone."),
             errhint("Before the extension is dropped, let whoever reads the slot come past "
                     "the last cqrs.publish() or unpublish().")));
    }
    end_catalog_write(writer);
}

// What a DROP removed: tables first, then what their disappearance and that of keys means.
void after_drop() {
    CatalogWriter writer = begin_catalog_write();
    uint64 count = catalog_execute(
        "SELECT CASE WHEN object_type OPERATOR(pg_catalog.=) 'index' THEN 'i'"
        "            WHEN object_type OPERATOR(pg_catalog.=) 'table constraint' THEN 'c'"
        "            WHEN object_type OPERATOR(pg_catalog.=) 'table column' THEN 'a'"
        "            WHEN object_type OPERATOR(pg_catalog.=) 'function' THEN 'f'"
        "            ELSE 't' END,"
        "       objid, address_names[1], address_names[2], original, object_identity"
        "  FROM pg_catalog.pg_event_trigger_dropped_objects()"
        " WHERE object_type OPERATOR(pg_catalog.=)"
        "       ANY ('{index,table constraint,table column,function,table}'::pg_catalog.text[])"
        " ORDER BY 1 DESC",  // tables first
        0, nullptr, nullptr);
    SPITupleTable* rows = SPI_tuptable;
    for (uint64 i = 0; i < count; i++) {
        bool is_null;
        Oid object = DatumGetObjectId(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &is_null));
        switch (*SPI_getvalue(rows->vals[i], rows->tupdesc, 1)) {
            case 't': {
                forget_table(object);
                auto* partition = partitions == nullptr
                                      ? nullptr
                                      : static_cast<Partition*>(
                                            hash_search(partitions, &object, HASH_FIND, nullptr));
                if (partition != nullptr && partition->root != object)
                    resync_at_commit(partition->root, "a partition was dropped", true);
                break;
            }
            case 'i':
                check_identity_indexes();
                break;
            case 'f':
                forget_function(
                    SPI_getvalue(rows->vals[i], rows->tupdesc, 6),
                    DatumGetBool(SPI_getbinval(rows->vals[i], rows->tupdesc, 5, &is_null)));
                break;
            case 'c': {
                char* schema = SPI_getvalue(rows->vals[i], rows->tupdesc, 3);
                char* table = SPI_getvalue(rows->vals[i], rows->tupdesc, 4);
                Oid relation = get_relname_relid(table, get_namespace_oid(schema, true));
                if (OidIsValid(relation)) check_still_publishable(relation);
                break;
            }
            default:
                if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(object)))
                    check_still_publishable(object);
        }
    }
    end_catalog_write(writer);
}

// Rows that were there have a value for the new column now, which no event carries.
bool added_with_value(Oid relation, const char* column) {
    ListCell* cell;
    foreach (cell, find_all_inheritors(relation, NoLock, nullptr)) {
        HeapTuple tuple = SearchSysCacheAttName(lfirst_oid(cell), column);
        if (!HeapTupleIsValid(tuple)) continue;
        bool has_value = reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple))->atthasmissing;
        ReleaseSysCache(tuple);
        if (has_value) return true;
    }
    return false;
}

// Whether the partition of an ATTACH or DETACH brought or took rows.
bool moved_rows(const AlterTableCmd* command) {
    if (command->subtype == AT_DetachPartitionFinalize) return true;
    auto* partition = reinterpret_cast<PartitionCmd*>(command->def);
    Oid relation = RangeVarGetRelid(partition->name, NoLock, true);
    return !OidIsValid(relation) || has_rows(relation);
}

void after_alter_table(const AlterTableStmt* statement) {
    Published row;
    Oid relation = RangeVarGetRelid(statement->relation, NoLock, true);
    Oid root = OidIsValid(relation) ? published_root(relation, &row) : InvalidOid;
    if (!OidIsValid(root)) return;
    ListCell* cell;
    foreach (cell, statement->cmds) {
        auto* command = static_cast<AlterTableCmd*>(lfirst(cell));
        switch (command->subtype) {
            case AT_AttachPartition:
                check_table(root, Use::keep);
                if (moved_rows(command)) resync_at_commit(root, "a partition was attached");
                break;
            case AT_DetachPartition:
            case AT_DetachPartitionFinalize:
                if (moved_rows(command)) resync_at_commit(root, "a partition was detached", true);
                break;
            case AT_AddColumn:
                if (added_with_value(relation, reinterpret_cast<ColumnDef*>(command->def)->colname))
                    resync_at_commit(root, "a column with a default was added");
                break;
            case AT_SetUnLogged:
            case AT_ReplicaIdentity:
                check_table(root, Use::keep);
                break;
            default:
                break;
        }
    }
}

// Rows have values under a name that no event of theirs has.
void after_rename(const RenameStmt* statement) {
    if (statement->renameType != OBJECT_COLUMN || statement->relation == nullptr) return;
    Published row;
    Oid relation = RangeVarGetRelid(statement->relation, NoLock, true);
    Oid root = OidIsValid(relation) ? published_root(relation, &row) : InvalidOid;
    if (OidIsValid(root)) resync_at_commit(root, "a column was renamed");
}

// Library and replicator look for it by its name. (relocatable = false forbids only SET SCHEMA.)
void keep_schema_name(const RenameStmt* statement) {
    if (statement->renameType != OBJECT_SCHEMA || strcmp(statement->subname, "cqrs") != 0) return;
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("cannot rename schema cqrs: pg_cqrs finds its objects by that name")));
}

// A function, its schema or its extension has another name or place: a handler is kept by its name.
void check_handlers() {
    CatalogWriter reader = begin_catalog_write();
    if (catalog_execute(
            "SELECT pattern, handler FROM cqrs.handler WHERE pg_catalog.to_regprocedure("
            "handler) IS NULL ORDER BY pattern, handler LIMIT 1",
            0, nullptr, nullptr) > 0) {
        const char* pattern = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
        const char* handler = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
        ereport(ERROR,
                (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
                 errmsg("cannot rename or move %s: it handles \"%s\"", handler, pattern),
                 errhint("SELECT cqrs.off('%s', ...); first, and cqrs.on() after it.", pattern)));
    }
    end_catalog_write(reader);
}

void after_create_table(const CreateStmt* statement) {
    if (statement->partbound == nullptr) return;
    Oid relation = RangeVarGetRelid(statement->relation, NoLock, true);
    if (OidIsValid(relation)) check_still_publishable(relation);
}

void before_rewrite() {
    constexpr int rows_change = AT_REWRITE_DEFAULT_VAL | AT_REWRITE_COLUMN_REWRITE;
    int reason = DatumGetInt32(OidFunctionCall0(F_PG_EVENT_TRIGGER_TABLE_REWRITE_REASON));
    if ((reason & rows_change) == 0) return;
    Published row;
    Oid relation = DatumGetObjectId(OidFunctionCall0(F_PG_EVENT_TRIGGER_TABLE_REWRITE_OID));
    Oid root = published_root(relation, &row);
    if (OidIsValid(root)) resync_at_commit(root, "the table was rewritten");
}

}  // namespace

void ddl_init() {
    RegisterXactCallback(forget_partitions, nullptr);
}

}  // namespace cqrs

// No SET search_path: names in the statements are looked up as their author meant them.
Datum cqrs_on_ddl(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
            ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
                            errmsg("this function is only an event trigger")));
        auto* data = reinterpret_cast<EventTriggerData*>(fcinfo->context);
        if (IsA(data->parsetree, RenameStmt))
            cqrs::keep_schema_name(reinterpret_cast<RenameStmt*>(data->parsetree));
        // While pg_cqrs itself is being dropped.
        if (!OidIsValid(cqrs::catalog_table("subscription_state"))) return (Datum)0;
        if (strcmp(data->event, "ddl_command_start") == 0) {
            auto* drop = reinterpret_cast<DropStmt*>(data->parsetree);
            if (IsA(drop, DropStmt) && drop->removeType == OBJECT_INDEX)
                cqrs::before_drop_index(drop);
            else if (IsA(drop, DropStmt) && drop->removeType == OBJECT_EXTENSION)
                cqrs::before_drop_extension(drop);
            if (!IsA(drop, DropStmt) || drop->removeType != OBJECT_INDEX)
                cqrs::remember_partitions();
        } else if (strcmp(data->event, "sql_drop") == 0)
            cqrs::after_drop();
        else if (strcmp(data->event, "table_rewrite") == 0)
            cqrs::before_rewrite();
        else if (IsA(data->parsetree, AlterTableStmt))
            cqrs::after_alter_table(reinterpret_cast<AlterTableStmt*>(data->parsetree));
        else if (data->tag != CMDTAG_ALTER_TABLE &&
                 (IsA(data->parsetree, RenameStmt) || IsA(data->parsetree, AlterObjectSchemaStmt)))
            cqrs::check_handlers();
        else if (IsA(data->parsetree, RenameStmt))
            cqrs::after_rename(reinterpret_cast<RenameStmt*>(data->parsetree));
        else if (IsA(data->parsetree, CreateStmt))
            cqrs::after_create_table(reinterpret_cast<CreateStmt*>(data->parsetree));
        return (Datum)0;
    });
}
