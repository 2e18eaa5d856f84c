// Reading and writing pg_cqrs' own tables (schema cqrs), and what hangs on them: invalidation of
// the plugin's cache, the resync marker at commit, the command guard.
//
// Plain data only: every function here may ereport, so callers hold nothing with a destructor.
#pragma once

#include "event.hpp"
#include "guard.hpp"

extern "C" {
#include "nodes/pg_list.h"
}

namespace cqrs {

struct Published {
    char prefix[kMaxPrefix + 1];
    bool notify;
};

// A table of schema cqrs by name; InvalidOid while the extension is being created or dropped.
Oid catalog_table(const char* name);

// Schema-qualified and quoted, for messages; palloc'd.
const char* table_name(Oid relation);

// The row of `relation` in cqrs.published, as of now (sees uncommitted rows of this transaction).
bool find_published(Oid relation, Published* out);
// OIDs of all published tables, palloc'd.
List* published_relations();
bool find_published_prefix(const char* prefix, Oid* relation);
bool find_subscribed(Oid relation);
bool find_subscribed_prefix(const char* prefix, Oid* relation);

// `relation` itself or the nearest table that it is a partition of that is published; else
// InvalidOid.
Oid published_root(Oid relation, Published* out);

// Writes of cqrs' tables: SPI with the rights of the extension's owner and a pinned search_path,
// whoever calls. Nothing to undo on ERROR: the end of the (sub)transaction restores all three.
struct CatalogWriter {
    Oid user;
    int security_context;
    int guc_level;
};
CatalogWriter begin_catalog_write();
void end_catalog_write(const CatalogWriter& writer);
// Between the two. Returns the number of rows. `arguments` as for SPI_execute_with_args; none NULL.
uint64 catalog_execute(const char* sql, int count, const Oid* types, const Datum* arguments);

// Tells every backend's (and every decoder's) cache that `relation` or its published state changed,
// and its partitions' with it.
void invalidate_with_partitions(Oid relation);

// Locks a table, and each of its partitions: rows can be written to those directly.
void lock_with_partitions(Oid relation, int mode);

// Whether any block of the table, or of its partitions, is in use.
bool has_rows(Oid relation);

// At the end of this transaction, if `relation` is published by then: a message in it that the rows
// changed in a way that the stream does not carry. Not for a table that is empty by then, unless it
// lost rows. `reason` must be a literal.
void resync_at_commit(Oid relation, const char* reason, bool lost_rows = false);

// ERROR (25006) if this database is a replica that is subscribed to `relation`. Takes the lock that
// a writer of the table needs anyway, so that register_replica() and subscribe() cannot slip
// between.
void refuse_on_replica(Oid relation, const char* command);

// Once per backend, from catalog_init().
void replica_init();
void ddl_init();

}  // namespace cqrs
