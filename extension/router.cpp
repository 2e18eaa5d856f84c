// cqrs.read(): a query called on the primary that the attached replica answers.
#include "attached.hpp"
#include "catalog.hpp"
#include "compat.hpp"
#include "module.hpp"
#include "token.hpp"

extern "C" {
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(cqrs_read);
}

namespace cqrs {
namespace {

// While it is away and the primary answers, it is not tried with every query.
constexpr int try_again_ms = 5000;

bool read_your_writes = false;
int read_timeout_ms = 5000;

// What is asked of one table, whoever answers. The SQL is the same but for the table's name.
struct Query {
    Oid relation;
    char* columns;    // that the caller lists, in order
    char* condition;  // with parameters; never empty
    int count;
    Oid* types;
    Datum* arguments;  // for SPI; all text
    const char** parameters;
};

// Each member of the key: column = value, by the column's own type and its default equality.
void add_key(Query& query, TupleDesc desc, Jsonb* key) {
    if (!JB_ROOT_IS_OBJECT(key))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("the key of cqrs.read() must be a JSON object"),
                        errhint("Pass columns and values: '{\"id\": 1}'.")));
    const int most = static_cast<int>(JB_ROOT_COUNT(key));
    query.types = static_cast<Oid*>(palloc(sizeof(Oid) * (most + 1)));
    query.arguments = static_cast<Datum*>(palloc(sizeof(Datum) * (most + 1)));
    query.parameters = static_cast<const char**>(palloc(sizeof(char*) * (most + 1)));
    StringInfoData condition;
    initStringInfo(&condition);
    appendStringInfoString(&condition, "true");
    JsonbIterator* it = JsonbIteratorInit(&key->root);
    JsonbValue value;
    JsonbIteratorToken token;
    while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE) {
        if (token != WJB_KEY) continue;
        char* name = pnstrdup(value.val.string.val, value.val.string.len);
        Form_pg_attribute column = nullptr;
        for (int i = 0; i < desc->natts && column == nullptr; i++)
            if (!TupleDescAttr(desc, i)->attisdropped &&
                strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
                column = TupleDescAttr(desc, i);
        if (column == nullptr)
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                            errmsg("column \"%s\" of the key does not exist", name),
                            errdetail("Table %s has no such column.", table_name(query.relation))));
        (void)JsonbIteratorNext(&it, &value, true);
        appendStringInfo(&condition, " AND t.%s", quote_identifier(name));
        if (value.type == jbvNull) {
            appendStringInfoString(&condition, " IS NULL");
            continue;
        }
        char* text;
        if (value.type == jbvString) {
            text = pnstrdup(value.val.string.val, value.val.string.len);
        } else {
            Jsonb* json = JsonbValueToJsonb(&value);
            text = JsonbToCString(nullptr, &json->root, VARSIZE(json));
        }
        query.parameters[query.count] = text;
        query.arguments[query.count] = CStringGetTextDatum(text);
        query.types[query.count] = TEXTOID;
        query.count++;
        appendStringInfo(&condition, " = $%d::pg_catalog.text::%s", query.count,
                         format_type_extended(column->atttypid, -1, FORMAT_TYPE_FORCE_QUALIFY));
    }
    query.condition = condition.data;
}

Query make_query(Oid relation, TupleDesc desc, Jsonb* key) {
    Query query{};
    query.relation = relation;
    StringInfoData columns;
    initStringInfo(&columns);
    for (int i = 0; i < desc->natts; i++) {
        Form_pg_attribute column = TupleDescAttr(desc, i);
        appendStringInfo(&columns, "%st.%s", columns.len ? ", " : "",
                         quote_identifier(NameStr(column->attname)));
        appendStringInfo(
            &columns, "::%s",
            format_type_extended(column->atttypid, column->atttypmod,
                                 FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
    }
    query.columns = columns.data;
    Relation rel = relation_open(relation, AccessShareLock);
    add_key(query, RelationGetDescr(rel), key);
    relation_close(rel, AccessShareLock);
    return query;
}

struct Rows {
    ReturnSetInfo* result;
    AttInMetadata* input;
    char** values;
};

void take_row(void* to, int columns, const char* const* values) {
    auto* rows = static_cast<Rows*>(to);
    TupleDesc desc = rows->result->setDesc;
    for (int i = 0; i < desc->natts; i++)
        rows->values[i] = i < columns ? const_cast<char*>(values[i]) : nullptr;
    HeapTuple row = BuildTupleFromCStrings(rows->input, rows->values);
    tuplestore_puttuple(rows->result->setResult, row);
    heap_freetuple(row);
}

void keep_text(void* to, int, const char* const* values) {
    if (values[0] != nullptr) *static_cast<char**>(to) = pstrdup(values[0]);
}

bool ask(const char* sql, int count, const char* const* parameters, char** answer,
         RemoteFailure* failure) {
    *answer = nullptr;
    return remote_query(sql, count, parameters, keep_text, answer, failure);
}

void too_far_behind(RemoteFailure* failure, const char* topic) {
    memset(failure, 0, sizeof *failure);
    strlcpy(failure->sqlstate, "CQ001", sizeof failure->sqlstate);
    snprintf(failure->message, sizeof failure->message,
             "the attached replica has not reached this session's last commit");
    snprintf(failure->detail, sizeof failure->detail,
             "Topic \"%s\" was waited for %d ms (cqrs.read_timeout).", topic, read_timeout_ms);
    snprintf(failure->hint, sizeof failure->hint,
             "Try again, or let this database answer: cqrs.attach_replica(..., fallback => "
             "'primary').");
}

// Everything that the replica does. False: `failure`.
bool read_remotely(const Attached& attached, const Query& query, const Published& published,
                   Rows& rows, RemoteFailure* failure) {
    RemoteAddress address = attached_address(attached);
    if (!remote_connect(address, failure)) return false;
    char* answer;
    const char* topic = pnstrdup(published.prefix, strcspn(published.prefix, "."));
    const XLogRecPtr last = last_commit();
    if (read_your_writes && last != InvalidXLogRecPtr) {
        const char* parameters[] = {make_token(last), psprintf("%d ms", read_timeout_ms), topic};
        if (!ask("SELECT cqrs.wait_for($1, $2::interval, $3)", 3, parameters, &answer, failure))
            return false;
        if (answer == nullptr || strcmp(answer, "t") != 0) {
            too_far_behind(failure, topic);
            return false;
        }
    }
    const char* parameters[] = {published.prefix,
                                GetConfigOption("cqrs.max_staleness", false, false)};
    if (!ask("SELECT relation FROM cqrs.subscription_status WHERE prefix = $1 AND "
             "set_config('cqrs.max_staleness', $2, false) IS NOT NULL",
             2, parameters, &answer, failure))
        return false;
    if (answer == nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_OBJECT),
                 errmsg("the attached replica is not subscribed to \"%s\"", published.prefix),
                 errhint("On the replica: SELECT cqrs.subscribe('%s', ...).", published.prefix)));
    return remote_query(
        psprintf("SELECT %s FROM %s AS t WHERE cqrs.require_fresh(%s) AND %s", query.columns,
                 answer, quote_literal_cstr(answer), query.condition),
        query.count, query.parameters, take_row, &rows, failure);
}

// With the caller's rights and policies.
void read_here(const Query& query, Rows& rows) {
    if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
    const char* table = table_name(query.relation);
    int code = SPI_execute_with_args(
        psprintf("SELECT %s FROM %s AS t WHERE cqrs.require_fresh(%s) AND %s", query.columns, table,
                 quote_literal_cstr(table), query.condition),
        query.count, query.types, query.arguments, nullptr, true, 0);
    if (code != SPI_OK_SELECT) elog(ERROR, "SPI failed: %s", SPI_result_code_string(code));
    TupleDesc desc = rows.result->setDesc;
    auto* values = static_cast<Datum*>(palloc0(sizeof(Datum) * desc->natts));
    auto* nulls = static_cast<bool*>(palloc(sizeof(bool) * desc->natts));
    for (uint64 n = 0; n < SPI_processed; n++) {
        for (int i = 0; i < desc->natts; i++)
            values[i] =
                SPI_getbinval(SPI_tuptable->vals[n], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
        tuplestore_putvalues(rows.result->setResult, desc, values, nulls);
    }
    SPI_finish();
}

// A snapshot that is older than the statement, what is not committed, and rows that the caller may
// not see are this database's alone.
bool must_read_here(Oid relation) {
    return IsolationUsesXactSnapshot() ||
           (read_your_writes && TransactionIdIsValid(GetTopTransactionIdIfAny())) ||
           check_enable_rls(relation, InvalidOid, true) == RLS_ENABLED;
}

void read_table(const Query& query, Rows& rows) {
    static bool warned = false;
    static TimestampTz not_before = 0;
    Attached attached;
    Published published;
    if (!find_attached(&attached) || must_read_here(query.relation) ||
        !OidIsValid(published_root(query.relation, &published)))
        return read_here(query, rows);
    // The replica is read with another role's rights.
    AclResult allowed = pg_class_aclcheck(query.relation, GetUserId(), ACL_SELECT);
    if (allowed != ACLCHECK_OK) aclcheck_error(allowed, OBJECT_TABLE, get_rel_name(query.relation));
    if (attached.fall_back && GetCurrentTimestamp() < not_before) return read_here(query, rows);
    RemoteFailure failure;
    if (read_remotely(attached, query, published, rows, &failure)) {
        warned = false;
        return;
    }
    if (!attached.fall_back || !(failure.away || strcmp(failure.sqlstate, "CQ001") == 0))
        remote_error(failure);
    if (failure.away) not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), try_again_ms);
    if (!warned)
        ereport(WARNING, (errmsg("the attached replica does not answer, this database does: %s",
                                 failure.message),
                          errdetail("This is said once, until the replica has answered again.")));
    warned = true;
    tuplestore_clear(rows.result->setResult);
    read_here(query, rows);
}

}  // namespace
}  // namespace cqrs

void router_init() {
    DefineCustomBoolVariable(
        "cqrs.read_your_writes", "The attached replica answers after this session's last commit.",
        "cqrs.read() waits there for cqrs.read_timeout at most.", &cqrs::read_your_writes, false,
        PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("cqrs.read_timeout",
                            "How long cqrs.read() waits for this session's last commit.", nullptr,
                            &cqrs::read_timeout_ms, 5000, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
                            nullptr, nullptr, nullptr);
}

Datum cqrs_read(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&]() -> Datum {
        if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                            errmsg("table and key must not be NULL"),
                            errhint("Leave the key out for every row.")));
        Oid relation = PG_GETARG_OID(0);
        char kind = get_rel_relkind(relation);
        if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                            errmsg("%s is not a table", cqrs::table_name(relation)),
                            errhint("SELECT * FROM cqrs.read('my_table', '{\"id\": 1}') AS t(id "
                                    "bigint, name text)")));
        InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
        auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
        cqrs::Rows rows{result, TupleDescGetAttInMetadata(result->setDesc),
                        static_cast<char**>(palloc0(sizeof(char*) * result->setDesc->natts))};
        cqrs::read_table(cqrs::make_query(relation, result->setDesc, PG_GETARG_JSONB_P(1)), rows);
        return (Datum)0;
    });
}
