// cqrs.publish(), unpublish(), subscribe(), unsubscribe(): rows of cqrs.published and
// .subscription.
#include "identity.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(cqrs_publish);
PG_FUNCTION_INFO_V1(cqrs_unpublish);
PG_FUNCTION_INFO_V1(cqrs_subscribe);
PG_FUNCTION_INFO_V1(cqrs_unsubscribe);
}

namespace cqrs {
namespace {

struct Request {
    Oid relation;
    char* prefix;
    bool notify;
    char *schema, *on_error;  // of a subscription
};

// What a subscription does about columns that only the primary has.
char* checked_schema(Datum schema, bool no_schema) {
    if (no_schema)
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("schema must not be NULL")));
    char* wanted = TextDatumGetCString(schema);
    if (strcmp(wanted, "stop") != 0 && strcmp(wanted, "follow") != 0 &&
        strcmp(wanted, "ignore") != 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("schema must be stop, follow or ignore, not \"%s\"", wanted)));
    return wanted;
}

// What it does about events that the server refuses for good.
char* checked_on_error(Datum on_error, bool no_on_error) {
    if (no_on_error)
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("on_error must not be NULL")));
    char* wanted = TextDatumGetCString(on_error);
    if (strcmp(wanted, "stop") != 0 && strcmp(wanted, "park") != 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("on_error must be stop or park, not \"%s\"", wanted)));
    return wanted;
}

Request checked_request(Datum relation, bool no_relation, Datum prefix, bool no_prefix,
                        Datum notify, bool no_notify) {
    if (no_relation)
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the relation must not be NULL")));
    if (no_notify)
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("notify must not be NULL")));
    Request request{DatumGetObjectId(relation), no_prefix ? nullptr : TextDatumGetCString(prefix),
                    DatumGetBool(notify), pstrdup(""), pstrdup("")};
    check_prefix(request.prefix);
    check_owner(request.relation);
    return request;
}

// Writers that are in their transaction finish first; those that come wait for our commit: whole
// transactions are published, or subscribed, or not. The catalog's own lock comes first, so that
// two callers cannot take one prefix.
void lock_for(const Request& request, Use use) {
    LockRelationOid(catalog_table(use == Use::publish ? "published" : "subscription"),
                    ShareRowExclusiveLock);
    lock_with_partitions(request.relation, ShareRowExclusiveLock);
    check_owner(request.relation);  // it may have been dropped or given away meanwhile
    check_table(request.relation, use);
}

// The row that a relation or a prefix has now: at most one of each.
struct Existing {
    bool same;                // relation and prefix in one row
    bool notify;              // of that row
    char *schema, *on_error;  // likewise, or nullptr
    char* prefix;             // the relation's other prefix, or nullptr
    Oid relation;             // the prefix' other relation, or InvalidOid
};

Existing find_existing(const Request& request, const char* sql) {
    Existing found{false, false, nullptr, nullptr, nullptr, InvalidOid};
    Oid types[] = {REGCLASSOID, TEXTOID};
    Datum arguments[] = {ObjectIdGetDatum(request.relation), CStringGetTextDatum(request.prefix)};
    uint64 rows = catalog_execute(sql, 2, types, arguments);
    for (uint64 i = 0; i < rows; i++) {
        HeapTuple row = SPI_tuptable->vals[i];
        TupleDesc desc = SPI_tuptable->tupdesc;
        bool is_null;
        Oid relation = DatumGetObjectId(SPI_getbinval(row, desc, 1, &is_null));
        char* prefix = SPI_getvalue(row, desc, 2);
        if (relation == request.relation && strcmp(prefix, request.prefix) == 0) {
            found.same = true;
            found.notify = DatumGetBool(SPI_getbinval(row, desc, 3, &is_null));
            found.schema = SPI_getvalue(row, desc, 4);
            found.on_error = SPI_getvalue(row, desc, 5);
        } else if (relation == request.relation) {
            found.prefix = prefix;
        } else {
            found.relation = relation;
        }
    }
    return found;
}

struct Statements {
    const char *find, *insert, *update;
};

constexpr Statements publish_statements = {
    "SELECT relation, prefix, notify, '', '' FROM cqrs.published "
    "WHERE relation OPERATOR(pg_catalog.=) $1 OR prefix OPERATOR(pg_catalog.=) $2",
    "INSERT INTO cqrs.published (relation, prefix, notify, by_extension) VALUES ($1, $2, $3, $4)",
    "UPDATE cqrs.published SET notify = $3 WHERE relation OPERATOR(pg_catalog.=) $1 "
    "AND prefix OPERATOR(pg_catalog.=) $2 AND $4 IS NOT NULL"};

constexpr Statements subscribe_statements = {
    "SELECT relation, prefix, notify, schema, on_error FROM cqrs.subscription "
    "WHERE relation OPERATOR(pg_catalog.=) $1 OR prefix OPERATOR(pg_catalog.=) $2",
    "INSERT INTO cqrs.subscription (relation, prefix, notify, by_extension, schema, on_error) "
    "VALUES ($1, $2, $3, $4, $5, $6)",
    "UPDATE cqrs.subscription SET notify = $3, schema = $5, on_error = $6 WHERE relation "
    "OPERATOR(pg_catalog.=) "
    "$1 "
    "AND prefix OPERATOR(pg_catalog.=) $2 AND $4 IS NOT NULL"};

// Once is enough: the same call again changes nothing, but may change how it is done.
void store(const Request& request, Use use) {
    const Statements& statements = use == Use::publish ? publish_statements : subscribe_statements;
    const char* participle = use == Use::publish ? "published" : "subscribed";
    const char* name = table_name(request.relation);
    lock_for(request, use);
    if (use == Use::subscribe) warn_of_deferred_constraints(request.relation);
    if (use == Use::publish) warn_of_children(request.relation);
    CatalogWriter writer = begin_catalog_write();
    Existing existing = find_existing(request, statements.find);
    if (existing.prefix != nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_DUPLICATE_OBJECT),
                 errmsg("table %s is already %s as \"%s\"", name, participle, existing.prefix),
                 errdetail("A table has one prefix."),
                 use == Use::publish
                     ? errhint("SELECT cqrs.unpublish(%s); first.", quote_literal_cstr(name))
                     : errhint("SELECT cqrs.unsubscribe('%s'); first.", existing.prefix)));
    if (OidIsValid(existing.relation))
        ereport(
            ERROR,
            (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("prefix \"%s\" is taken", request.prefix),
             errdetail("Table %s is %s as \"%s\".", table_name(existing.relation), participle,
                       request.prefix),
             use == Use::publish
                 ? errhint("Choose another prefix; \"%s.\" and a word of its own keeps the topic, "
                           "and with it the order of both tables' events.",
                           request.prefix)
                 : errhint("SELECT cqrs.unsubscribe('%s'); first.", request.prefix)));
    // The last two are for subscriptions alone.
    Oid types[] = {REGCLASSOID, TEXTOID, BOOLOID, BOOLOID, TEXTOID, TEXTOID};
    Datum arguments[] = {
        ObjectIdGetDatum(request.relation),  CStringGetTextDatum(request.prefix),
        BoolGetDatum(request.notify),        BoolGetDatum(creating_extension),
        CStringGetTextDatum(request.schema), CStringGetTextDatum(request.on_error)};
    const int count = use == Use::publish ? 4 : 6;
    if (!existing.same)
        catalog_execute(statements.insert, count, types, arguments);
    else if (existing.notify != request.notify || strcmp(existing.schema, request.schema) != 0 ||
             strcmp(existing.on_error, request.on_error) != 0)
        catalog_execute(statements.update, count, types, arguments);
    else
        ereport(NOTICE, (errmsg("table %s is already %s as \"%s\", nothing to do", name, participle,
                                request.prefix)));
    end_catalog_write(writer);
}

}  // namespace
}  // namespace cqrs

Datum cqrs_publish(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        cqrs::store(cqrs::checked_request(PG_GETARG_DATUM(0), PG_ARGISNULL(0), PG_GETARG_DATUM(1),
                                          PG_ARGISNULL(1), PG_GETARG_DATUM(2), PG_ARGISNULL(2)),
                    cqrs::Use::publish);
        return (Datum)0;
    });
}

Datum cqrs_subscribe(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        auto request =
            cqrs::checked_request(PG_GETARG_DATUM(1), PG_ARGISNULL(1), PG_GETARG_DATUM(0),
                                  PG_ARGISNULL(0), PG_GETARG_DATUM(2), PG_ARGISNULL(2));
        request.schema = cqrs::checked_schema(PG_GETARG_DATUM(3), PG_ARGISNULL(3));
        request.on_error = cqrs::checked_on_error(PG_GETARG_DATUM(4), PG_ARGISNULL(4));
        cqrs::store(request, cqrs::Use::subscribe);
        return (Datum)0;
    });
}

// Waits for writers as publish() does: a transaction's events are published as a whole or not.
Datum cqrs_unpublish(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        if (PG_ARGISNULL(0))
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                            errmsg("the relation must not be NULL")));
        Oid relation = PG_GETARG_OID(0);
        cqrs::check_owner(relation);
        cqrs::lock_with_partitions(relation, ShareRowExclusiveLock);
        cqrs::Published row;
        if (!cqrs::find_published(relation, &row))
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                            errmsg("table %s is not published", cqrs::table_name(relation)),
                            errhint("SELECT * FROM cqrs.publication_status; shows what is.")));
        cqrs::CatalogWriter writer = cqrs::begin_catalog_write();
        Oid types[] = {REGCLASSOID};
        Datum arguments[] = {ObjectIdGetDatum(relation)};
        cqrs::catalog_execute("DELETE FROM cqrs.published WHERE relation OPERATOR(pg_catalog.=) $1",
                              1, types, arguments);
        cqrs::end_catalog_write(writer);
        return (Datum)0;
    });
}

// The table and its rows stay; the applier stops writing them.
Datum cqrs_unsubscribe(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        if (PG_ARGISNULL(0))
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                            errmsg("the prefix must not be NULL")));
        char* prefix = text_to_cstring(PG_GETARG_TEXT_PP(0));
        Oid relation;
        if (!cqrs::find_subscribed_prefix(prefix, &relation))
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                            errmsg("prefix \"%s\" is not subscribed", prefix),
                            errhint("SELECT * FROM cqrs.subscription_status; shows what is.")));
        cqrs::check_owner(relation);
        cqrs::CatalogWriter writer = cqrs::begin_catalog_write();
        Oid types[] = {TEXTOID};
        Datum arguments[] = {PG_GETARG_DATUM(0)};
        cqrs::catalog_execute(
            "DELETE FROM cqrs.subscription WHERE prefix OPERATOR(pg_catalog.=) $1", 1, types,
            arguments);
        cqrs::catalog_execute(
            "DELETE FROM cqrs.subscription_state WHERE prefix OPERATOR(pg_catalog.=) $1", 1, types,
            arguments);
        cqrs::end_catalog_write(writer);
        return (Datum)0;
    });
}
