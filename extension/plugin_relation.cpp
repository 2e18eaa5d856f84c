#include "plugin_relation.hpp"

#include "compat.hpp"
#include "event.hpp"
#include "plugin_catalog.hpp"
#include "plugin_encoding.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/partition.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace cqrs {
namespace {

constexpr std::size_t kSweep = 256;  // invalid entries kept before they are swept

// Output functions below this OID are Postgres' own; they do not fail on what their input functions
// let in.
bool runs_foreign_code(Oid type) {
    type = getBaseType(type);
    switch (get_typtype(type)) {
        case TYPTYPE_BASE: {
            const Oid element = get_element_type(type);
            if (OidIsValid(element)) return runs_foreign_code(element);
            Oid function;
            bool varlena;
            getTypeOutputInfo(type, &function, &varlena);
            return function >= FirstGenbkiObjectId;
        }
        case TYPTYPE_ENUM:
            return false;
        case TYPTYPE_RANGE:
            return runs_foreign_code(get_range_subtype(type));
        case TYPTYPE_MULTIRANGE:
            return runs_foreign_code(get_multirange_range(type));
        default:
            return true;  // composites: any type inside, and quotes that double at each level
    }
}

Writer choose_writer(Oid base, PGFunction output) {
    switch (base) {
        case INT2OID:
            return Writer::int2;
        case INT4OID:
            return Writer::int4;
        case INT8OID:
            return Writer::int8;
        case BOOLOID:
            return Writer::boolean;
        case FLOAT4OID:
            return Writer::float4;
        case FLOAT8OID:
            return Writer::float8;
        case NUMERICOID:
            return Writer::number;
        case NAMEOID:
            return Writer::name;
        case UUIDOID:
            return Writer::uuid;
        case DATEOID:
            return Writer::date;
        case TIMESTAMPOID:
            return Writer::timestamp;
        case TIMESTAMPTZOID:
            return Writer::timestamptz;
        case JSONOID:
            return Writer::json;
        case JSONBOID:
            return Writer::jsonb;
        default:
            break;
    }
    if (output == textout || output == varcharout || output == bpcharout) return Writer::text;
    return get_typtype(base) == TYPTYPE_ENUM ? Writer::enumeration : Writer::string;
}

// Everything about the column's type that may ERROR. Plain data only.
void describe_type(Column& column, Oid type, MemoryContext context) {
    const Oid base = getBaseType(type);
    Oid function;
    getTypeOutputInfo(base, &function, &column.varlena);
    fmgr_info_cxt(function, &column.output, context);
    column.varlena = get_typlen(base) == -1;
    column.writer = choose_writer(base, column.output.fn_addr);
    column.foreign = column.writer == Writer::string && runs_foreign_code(base);
}

// Columns that identify a row of the relation that changes (the partition, not its root): of the
// replica identity, or of the primary key where the identity is the whole row.
Bitmapset* key_columns(Relation relation) {
    if (relation->rd_rel->relreplident != REPLICA_IDENTITY_FULL)
        return RelationGetIdentityKeyBitmap(relation);
    list_free(RelationGetIndexList(relation));  // finds rd_pkindex
    if (!OidIsValid(relation->rd_pkindex)) return nullptr;
    HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(relation->rd_pkindex));
    if (!HeapTupleIsValid(tuple)) return nullptr;
    auto* index = reinterpret_cast<Form_pg_index>(GETSTRUCT(tuple));
    Bitmapset* columns = nullptr;
    for (int i = 0; i < index->indnkeyatts; i++)
        columns =
            bms_add_member(columns, index->indkey.values[i] - FirstLowInvalidHeapAttributeNumber);
    ReleaseSysCache(tuple);
    return columns;
}

int find_column(TupleDesc columns, const char* name, int guess) {
    auto is = [&](int i) {
        Form_pg_attribute column = TupleDescAttr(columns, i);
        return !column->attisdropped && strcmp(NameStr(column->attname), name) == 0;
    };
    if (guess < columns->natts && is(guess)) return guess;
    for (int i = 0; i < columns->natts; i++)
        if (is(i)) return i;
    return -1;
}

bool is_stored(Form_pg_attribute column) {
    return !column->attisdropped && !is_virtual(column);
}

void name_types(Table& table, std::string_view prefix) {
    constexpr const char* verbs[] = {".create",   ".update", ".delete",
                                     ".truncate", ".resync", ".stop"};
    for (std::size_t i = 0; i < table.types.size(); i++)
        table.types[i].assign(prefix).append(verbs[i]);
}

}  // namespace

// The root's columns in the root's order, each with its place in the changed relation's tuples.
void describe_columns(Table& table, Relation root, Relation changed) {
    TupleDesc columns = RelationGetDescr(root);
    Bitmapset* keys = nullptr;
    if (!attempt(table.broken, [&] { keys = key_columns(changed); })) return;
    table.full_identity = changed->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
    table.has_key = keys != nullptr;
    table.names_old = changed->rd_rel->relreplident == REPLICA_IDENTITY_INDEX &&
                      changed->rd_replidindex != changed->rd_pkindex;
    for (int i = 0; i < columns->natts; i++) {
        Form_pg_attribute attribute = TupleDescAttr(columns, i);
        if (!is_stored(attribute)) continue;
        const char* name = NameStr(attribute->attname);
        Column& column = table.columns.emplace_back();
        column.index = find_column(RelationGetDescr(changed), name, i);
        std::string_view utf8;
        column.name = ",";
        if (column.index < 0) {
            table.broken.set("a partition lacks a column of the published table");
            return;
        }
        if (!to_utf8(name, utf8) || !append_json_string(column.name, utf8)) {
            table.broken.set("a column's name cannot be said in UTF-8");
            return;
        }
        column.name.push_back(':');
        column.key = bms_is_member(column.index + 1 - FirstLowInvalidHeapAttributeNumber, keys);
        const Oid type = TupleDescAttr(RelationGetDescr(changed), column.index)->atttypid;
        if (!attempt(table.broken, [&] { describe_type(column, type, table.context); })) return;
    }
}

void append_relation_name(std::string& out, Oid schema, const char* name) {
    const char* schema_name = get_namespace_name(schema);
    const std::size_t start = out.size();
    std::string_view utf8;
    if (name && schema_name && to_utf8(quote_qualified_identifier(schema_name, name), utf8) &&
        append_json_string(out, utf8))
        return;
    out.resize(start);
    out.append("null");
}

Table::Table(MemoryContext parent)
    : context(pg_call(
          [&] { return AllocSetContextCreate(parent, "pg_cqrs table", ALLOCSET_SMALL_SIZES); })) {}

TableCache* TableCache::first_ = nullptr;

TableCache::TableCache(MemoryContext context, Output& output)
    : context_(context), output_(output), next_(first_) {
    static bool registered = false;
    if (!registered) {
        pg_call([] { CacheRegisterRelcacheCallback(on_relcache, 0); });
        registered = true;
    }
    first_ = this;
}

TableCache::~TableCache() {
    TableCache** link = &first_;
    while (*link != this) link = &(*link)->next_;
    *link = next_;
}

// May come at any time a lock is taken or a transaction starts: only marks.
void TableCache::on_relcache(Datum, Oid relation) {
    for (TableCache* cache = first_; cache; cache = cache->next_) cache->invalidate(relation);
}

void TableCache::invalidate(Oid relation) {
    auto mark = [this](Table& table) {
        if (table.valid) invalid_++;
        table.valid = false;
    };
    if (OidIsValid(relation)) {
        if (const auto it = tables_.find(relation); it != tables_.end()) mark(*it->second);
    }
    if (OidIsValid(relation) && !any_partition_) return;
    // A partition's entry depends on its ancestors, whichever of them is published.
    for (auto& [oid, table] : tables_)
        if (!OidIsValid(relation) || table->partition) mark(*table);
}

Table& TableCache::find(Relation relation, ReorderBufferTXN* txn) {
    const Oid oid = RelationGetRelid(relation);
    if (last_ && last_->relation == oid && last_->valid) return *last_;
    auto it = tables_.find(oid);
    if (it == tables_.end()) {
        it = tables_.emplace(oid, std::make_unique<Table>(context_)).first;
        invalid_++;
    }
    Table& table = *it->second;
    last_ = &table;
    if (!table.valid) {
        table.relation = oid;
        invalid_--;
        build(table, relation, txn);
    }
    return table;
}

void TableCache::build(Table& table, Relation relation, ReorderBufferTXN* txn) {
    table.columns.clear();
    MemoryContextReset(table.context);
    table.broken.set("");
    table.published = table.until_commit = false;
    table.partition = relation->rd_rel->relispartition;
    any_partition_ |= table.partition;
    table.stopped_at = 0;
    // From here on: an invalidation while the catalog is read counts.
    table.valid = true;

    List* ancestors = nullptr;
    Oid candidates[1 + 64];
    int count = 0;
    candidates[count++] = table.relation;
    if (table.partition) {
        ancestors = get_partition_ancestors(table.relation);
        ListCell* cell;
        foreach (cell, ancestors) {
            if (count < static_cast<int>(lengthof(candidates)))
                candidates[count++] = lfirst_oid(cell);
        }
        list_free(ancestors);
    }
    Publication publication;
    const bool published = find_publication(txn, candidates, count, publication);
    table.until_commit = publication.until_commit;
    any_until_commit_ |= publication.until_commit;
    if (!published) return;

    table.published = true;
    table.root = publication.relation;
    table.notify = publication.notify;
    name_types(table, publication.prefix);
    table.topic = &output_.topic(topic_of(publication.prefix));
    Relation root = table.root == table.relation ? relation : RelationIdGetRelation(table.root);
    if (!RelationIsValid(root)) {
        table.name = "null";
        table.broken.set("the published table of this partition is not in the catalog");
        return;
    }
    table.name.clear();
    append_relation_name(table.name, RelationGetNamespace(root), RelationGetRelationName(root));
    describe_columns(table, root, relation);
    if (root != relation) RelationClose(root);
    // What is broken may heal without touching the table: a library that was missing.
    if (table.broken.text[0]) table.until_commit = any_until_commit_ = true;
}

void TableCache::end_of_transaction() {
    if (any_until_commit_) {
        for (auto& [oid, table] : tables_) {
            if (table->until_commit && table->valid) {
                table->valid = false;
                invalid_++;
            }
        }
        any_until_commit_ = false;
    }
    if (invalid_ >= kSweep) sweep();
}

// Tables that were dropped, or are not of interest at the moment.
void TableCache::sweep() {
    last_ = nullptr;
    invalid_ = 0;
    std::erase_if(tables_, [](const auto& entry) {
        if (entry.second->valid) return false;
        MemoryContextDelete(entry.second->context);
        return true;
    });
}

}  // namespace cqrs
