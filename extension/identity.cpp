// The checks of publish() and subscribe(); the event triggers repeat them after DDL.
#include "identity.hpp"

#include "compat.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
}

namespace cqrs {

const char* verb_of(Use use) {
    return use == Use::subscribe ? "subscribe" : "publish";
}

namespace {

const char* kind_name(char relkind) {
    switch (relkind) {
        case RELKIND_VIEW:
            return "a view";
        case RELKIND_MATVIEW:
            return "a materialized view";
        case RELKIND_FOREIGN_TABLE:
            return "a foreign table";
        case RELKIND_SEQUENCE:
            return "a sequence";
        case RELKIND_COMPOSITE_TYPE:
            return "a composite type";
        case RELKIND_INDEX:
        case RELKIND_PARTITIONED_INDEX:
            return "an index";
        default:
            return "not a table";
    }
}

// The applier does not write generated columns: rows of a replica are not found by them.
bool usable_index(Relation rel, Oid index, Use use, bool* primary) {
    HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
    if (!HeapTupleIsValid(tuple)) return false;
    auto* form = reinterpret_cast<Form_pg_index>(GETSTRUCT(tuple));
    *primary = form->indisprimary;
    bool usable = form->indisunique && form->indimmediate && form->indisvalid && form->indislive &&
                  heap_attisnull(tuple, Anum_pg_index_indpred, nullptr);
    for (int i = 0; usable && i < form->indnkeyatts; i++) {
        AttrNumber column = form->indkey.values[i];
        Form_pg_attribute attribute =
            column > 0 ? TupleDescAttr(RelationGetDescr(rel), column - 1) : nullptr;
        usable = attribute != nullptr && attribute->attnotnull &&
                 (use != Use::subscribe || attribute->attgenerated == '\0');
    }
    ReleaseSysCache(tuple);
    return usable;
}

bool has_usable_primary_key(Relation rel, Use use) {
    ListCell* cell;
    foreach (cell, RelationGetIndexList(rel)) {
        bool primary;
        if (usable_index(rel, lfirst_oid(cell), use, &primary) && primary) return true;
    }
    return false;
}

bool has_usable_identity_index(Relation rel, Use use) {
    Oid index = RelationGetReplicaIndex(rel);
    bool primary;
    return OidIsValid(index) && usable_index(rel, index, use, &primary);
}

// A state of the table that can be mended. palloc'd texts; for Use::keep the way out is another
// one.
[[noreturn]] void refuse(Relation rel, Use use, const char* what, const char* detail,
                         const char* hint) {
    const char* name = table_name(RelationGetRelid(rel));
    if (use == Use::keep) {
        Published row;
        Oid root = published_root(RelationGetRelid(rel), &row);
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("published table %s would be left %s", name, what), errdetail("%s", detail),
                 errhint("SELECT cqrs.unpublish(%s); first, if its events are to end.",
                         quote_literal_cstr(table_name(root)))));
    }

    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("cannot %s table %s %s", verb_of(use), name, what),
                    errdetail("%s", detail), errhint("%s", hint)));
    pg_unreachable();
}

void check_identity(Relation rel, Use use) {
    const char* name = table_name(RelationGetRelid(rel));
    bool primary_key = has_usable_primary_key(rel, use);
    // A replica is written by key, whatever its own replica identity says.
    if (use == Use::subscribe) {
        if (!primary_key && !has_usable_identity_index(rel, use))
            refuse(
                rel, use, "without a key",
                "Events are applied by key; the table has no primary key (a deferrable one, or one "
                "with a generated column, does not count).",
                psprintf("ALTER TABLE %s ADD PRIMARY KEY (...), with the columns that are the key "
                         "of the published table.",
                         name));
        return;
    }
    switch (rel->rd_rel->relreplident) {
        case REPLICA_IDENTITY_NOTHING:
            refuse(rel, use, "with REPLICA IDENTITY NOTHING",
                   "Its UPDATEs and DELETEs would not say which row they change.",
                   psprintf("ALTER TABLE %s REPLICA IDENTITY DEFAULT, with a primary key.", name));
        case REPLICA_IDENTITY_FULL:
            if (!primary_key)
                refuse(rel, use, "with REPLICA IDENTITY FULL and no primary key",
                       "Two equal rows could not be told apart on a replica.",
                       psprintf("ALTER TABLE %s ADD PRIMARY KEY (...).", name));
            break;
        case REPLICA_IDENTITY_INDEX:
            if (!has_usable_identity_index(rel, use))
                refuse(rel, use, "without its replica identity index",
                       "The index of its REPLICA IDENTITY does not exist, or is not an immediate, "
                       "unique and complete one on NOT NULL columns.",
                       psprintf("ALTER TABLE %s REPLICA IDENTITY DEFAULT, with a primary key, or "
                                "REPLICA IDENTITY USING INDEX with another index.",
                                name));
            break;
        default:
            if (!primary_key)
                refuse(
                    rel, use, "without a key",
                    "It has no primary key (a deferrable one does not count), so its UPDATEs and "
                    "DELETEs would not say which row they change.",
                    psprintf("ALTER TABLE %s ADD PRIMARY KEY (...), or ALTER TABLE %s REPLICA "
                             "IDENTITY USING INDEX a unique index on NOT NULL columns.",
                             name, name));
    }
}

void check_kind(Relation rel, Use use) {
    const char* name = table_name(RelationGetRelid(rel));
    char kind = rel->rd_rel->relkind;
    if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
        ereport(ERROR,
                (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot %s %s", verb_of(use), name),
                 errdetail("It is %s.", kind_name(kind)),
                 errhint("Name the table that the rows are stored in.")));
    Oid schema = RelationGetNamespace(rel);
    if (IsCatalogRelation(rel) || schema == get_namespace_oid("information_schema", true) ||
        schema == get_namespace_oid("cqrs", true))
        ereport(ERROR,
                (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot %s %s", verb_of(use), name),
                 errdetail("It is a system catalog, or a table of pg_cqrs itself."),
                 errhint("Name a table of your own.")));
    if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("cannot %s temporary table %s", verb_of(use), name),
                        errdetail("Its changes are not in the WAL and it ends with its session."),
                        errhint("Create it without TEMPORARY.")));
    if (rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
        refuse(rel, use, use == Use::keep ? "unlogged" : "while it is unlogged",
               "Its changes are not in the WAL, and it is empty after a crash.",
               psprintf("ALTER TABLE %s SET LOGGED.", name));
}

bool in_use(Oid relation, Use use) {
    Published row;
    return use == Use::subscribe ? find_subscribed(relation) : find_published(relation, &row);
}

// One row, one event: a table and a table that holds it must not both be published or subscribed.
void check_overlap(Relation rel, Use use) {
    const char* participle = use == Use::subscribe ? "subscribed" : "published";
    Oid relation = RelationGetRelid(rel);
    ListCell* cell;
    if (rel->rd_rel->relispartition) {
        foreach (cell, get_partition_ancestors(relation)) {
            if (!in_use(lfirst_oid(cell), use)) continue;
            const char* root = table_name(lfirst_oid(cell));
            ereport(ERROR,
                    (errcode(ERRCODE_DUPLICATE_OBJECT),
                     errmsg("cannot %s %s", verb_of(use), table_name(relation)),
                     errdetail("It is a partition of %s, which is %s: its rows are covered.", root,
                               participle),
                     errhint("Nothing is to be done; or un%s %s first.", verb_of(use), root)));
        }
    }
    if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) return;
    foreach (cell, find_all_inheritors(relation, AccessShareLock, nullptr)) {
        if (lfirst_oid(cell) == relation || !in_use(lfirst_oid(cell), use)) continue;
        const char* leaf = table_name(lfirst_oid(cell));
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
                        errmsg("cannot %s %s", verb_of(use), table_name(relation)),
                        errdetail("Its partition %s is %s on its own.", leaf, participle),
                        errhint("Un%s %s first.", verb_of(use), leaf)));
    }
}

}  // namespace

void check_owner(Oid relation) {
    if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("relation with OID %u does not exist", relation)));
    if (owns_table(relation, GetUserId())) return;
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    errmsg("must be owner of table %s", table_name(relation)),
                    errdetail("Its owner decides where its rows come from and go to."),
                    errhint("SET ROLE to the owner, or ask it to.")));
}

void check_table(Oid relation, Use use) {
    Relation rel = relation_open(relation, AccessShareLock);
    check_kind(rel, use);
    check_overlap(rel, use);
    check_identity(rel, use);
    if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) {
        ListCell* cell;
        foreach (cell, find_all_inheritors(relation, AccessShareLock, nullptr)) {
            if (lfirst_oid(cell) == relation) continue;
            Relation leaf = relation_open(lfirst_oid(cell), AccessShareLock);
            check_kind(leaf, use);
            check_identity(leaf, use);
            relation_close(leaf, NoLock);
        }
    }
    relation_close(rel, NoLock);
}

void warn_of_deferred_constraints(Oid relation) {
    Relation rel = relation_open(relation, AccessShareLock);
    ListCell* cell;
    foreach (cell, RelationGetIndexList(rel)) {
        HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
        if (!HeapTupleIsValid(tuple)) continue;
        auto* form = reinterpret_cast<Form_pg_index>(GETSTRUCT(tuple));
        if (form->indisunique && !form->indimmediate)
            ereport(
                WARNING,
                (errmsg("deferrable constraint %s is not enforced on a replica",
                        quote_identifier(get_rel_name(form->indexrelid))),
                 errdetail("Postgres does not check it for rows that are written as a replica."),
                 errhint("Drop it here, or make it NOT DEFERRABLE: the primary checks it.")));
        ReleaseSysCache(tuple);
    }
    relation_close(rel, NoLock);
}

void warn_of_children(Oid relation) {
    if (get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE) return;
    List* children = find_inheritance_children(relation, NoLock);
    if (children == NIL) return;
    ereport(WARNING, (errmsg("%s, which inherits from %s, is not published with it",
                             table_name(linitial_oid(children)), table_name(relation)),
                      errdetail("Children by inheritance are tables of their own; %d of them.",
                                list_length(children)),
                      errhint("Publish each child whose rows matter, under a prefix of its own.")));
}

void check_prefix(const char* prefix) {
    if (prefix == nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the prefix must not be NULL"),
                 errhint("A prefix is the first part of the events' types: 'parking' gives "
                         "parking.create, parking.update and so on.")));
    const char* wrong = nullptr;
    if (strlen(prefix) > kMaxPrefix)
        wrong = "It is longer than 50 bytes.";
    else if (reserved_topic(topic_of(prefix)))
        wrong = "The topics \"cqrs\" and \"heartbeat\" are reserved.";
    else if (!valid_prefix(prefix))
        wrong = "It is not words joined by dots, the first beginning with a letter.";
    if (wrong != nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("invalid event prefix \"%s\"", prefix), errdetail("%s", wrong),
                 errhint("Use words of ASCII letters, digits, underscores and hyphens, joined by "
                         "dots, at most 50 bytes: 'parking' or 'parking.reservation'.")));
}

}  // namespace cqrs
