// Queries called on the primary that the attached replica answers: cqrs.attach_replica(),
// cqrs.read().
#include "catalog.hpp"
#include "compat.hpp"
#include "module.hpp"
#include "remote.hpp"
#include "source.hpp"
#include "token.hpp"

#include <libpq-fe.h>
#include <string>

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(cqrs_attach_replica);
PG_FUNCTION_INFO_V1(cqrs_detach_replica);
PG_FUNCTION_INFO_V1(cqrs_attached);
PG_FUNCTION_INFO_V1(cqrs_read);
}

namespace cqrs {
namespace {

constexpr const char* server_name = "cqrs_replica";
constexpr AttrNumber attached_fallback = 2, attached_at = 3;
// While it is away and the primary answers, it is not tried with every query.
constexpr int try_again_ms = 5000;

bool read_your_writes = false;
int read_timeout_ms = 5000;

struct Attached {
    bool fall_back;  // answer from here
    TimestampTz since;
};

// As this statement sees it: both branches of a query that asks twice get the same answer.
bool find_attached(Attached* out) {
    Oid table = catalog_table("attached_replica");
    if (!OidIsValid(table)) return false;
    Relation rel = table_open(table, AccessShareLock);
    SysScanDesc scan = systable_beginscan(
        rel, InvalidOid, false, ActiveSnapshotSet() ? GetActiveSnapshot() : nullptr, 0, nullptr);
    HeapTuple row = systable_getnext(scan);
    const bool found = HeapTupleIsValid(row);
    if (found) {
        bool is_null;
        char* fallback = TextDatumGetCString(
            heap_getattr(row, attached_fallback, RelationGetDescr(rel), &is_null));
        out->fall_back = strcmp(fallback, "primary") == 0;
        out->since =
            DatumGetTimestampTz(heap_getattr(row, attached_at, RelationGetDescr(rel), &is_null));
    }
    systable_endscan(scan);
    table_close(rel, AccessShareLock);
    return found;
}

// --- attaching

// libpq's own parameters of every connection come last: what the user says wins.
RemoteAddress make_address(List* options, uint64 version) {
    const int count = list_length(options);
    RemoteAddress address;
    address.keywords = static_cast<const char**>(palloc0(sizeof(char*) * (count + 6)));
    address.values = static_cast<const char**>(palloc0(sizeof(char*) * (count + 6)));
    address.version = version;
    int at = 0;
    const auto add = [&](const char* keyword, const char* value) {
        address.keywords[at] = keyword;
        address.values[at++] = value;
    };
    add("fallback_application_name", "cqrs read");
    add("keepalives_idle", "10");
    add("keepalives_interval", "5");
    add("tcp_user_timeout", "10000");
    ListCell* cell;
    foreach (cell, options) {
        auto* option = static_cast<DefElem*>(lfirst(cell));
        add(option->defname, defGetString(option));
    }
    add("client_encoding", GetDatabaseEncodingName());
    return address;
}

RemoteAddress attached_address(const Attached& attached) {
    ForeignServer* server = GetForeignServerByName(server_name, false);
    UserMapping* user = GetUserMapping(GetUserId(), server->serverid);
    return make_address(list_concat_copy(server->options, user->options),
                        static_cast<uint64>(attached.since) ^ static_cast<uint64>(user->umid)
                                                                  << 40);
}

struct Conninfo {
    List* server;  // of DefElem
    List* user;
};

// Secrets, and who it is, belong to the user mapping.
Conninfo parse_conninfo(const char* conninfo) {
    char* error = nullptr;
    PQconninfoOption* options = PQconninfoParse(conninfo, &error);
    if (options == nullptr) {
        // libpq's text may quote what stands there.
        if (error != nullptr) PQfreemem(error);
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("invalid connection string of a replica"),
                        errhint("Pass libpq's parameters: 'host=... dbname=... user=... "
                                "passfile=...', or a URL.")));
    }
    Conninfo parsed{NIL, NIL};
    for (PQconninfoOption* option = options; option->keyword != nullptr; option++) {
        if (option->val == nullptr) continue;
        const bool of_user = strcmp(option->keyword, "user") == 0 ||
                             strcmp(option->keyword, "password") == 0 ||
                             strcmp(option->keyword, "sslpassword") == 0;
        DefElem* element =
            makeDefElem(pstrdup(option->keyword),
                        reinterpret_cast<Node*>(makeString(pstrdup(option->val))), -1);
        if (of_user)
            parsed.user = lappend(parsed.user, element);
        else
            parsed.server = lappend(parsed.server, element);
    }
    PQconninfoFree(options);
    return parsed;
}

void keep_source(void* to, int, const char* const* values) {
    auto* source = static_cast<char**>(to);
    if (values[0] != nullptr) *source = pstrdup(values[0]);
}

// It must be there, and follow this database.
void look_at_replica(const RemoteAddress& address, const char* own_source) {
    RemoteFailure failure;
    char* source = nullptr;
    if (!remote_connect(address, &failure)) remote_error(failure);
    if (!remote_query("SELECT coalesce(min(source), '') FROM cqrs.freshness HAVING count(*) > 0", 0,
                      nullptr, keep_source, &source, &failure))
        remote_error(failure);
    remote_close();
    if (source == nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("that database is no replica"), errdetail("It is subscribed to nothing."),
                 errhint("Call cqrs.subscribe() there, and start its applier.")));
    if (source[0] != '\0' && strcmp(source, own_source) != 0)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("that replica follows another primary"),
                        errdetail("It follows %s; this is %s.", source, own_source)));
}

const char* own_source() {
    std::string source;
    append_default_source(source);
    return pg_call([&] { return pstrdup(source.c_str()); });
}

// By Postgres' functions, not as SQL text: a password would show in pg_stat_statements and in logs
// of nested statements.
void create_server(const Conninfo& conninfo) {
    auto* server = makeNode(CreateForeignServerStmt);
    server->servername = pstrdup(server_name);
    server->fdwname = pstrdup("postgres_fdw");
    server->options = conninfo.server;
    (void)CreateForeignServer(server);
    CommandCounterIncrement();
    auto* mapping = makeNode(CreateUserMappingStmt);
    mapping->user = makeNode(RoleSpec);
    mapping->user->roletype = ROLESPEC_PUBLIC;
    mapping->user->location = -1;
    mapping->servername = pstrdup(server_name);
    mapping->options = conninfo.user;
    (void)CreateUserMapping(mapping);
    CommandCounterIncrement();
}

// --- reading

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

Datum cqrs_attach_replica(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                            errmsg("the connection string and the fallback must not be NULL")));
        const char* fallback = text_to_cstring(PG_GETARG_TEXT_PP(1));
        if (strcmp(fallback, "error") != 0 && strcmp(fallback, "primary") != 0)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("unknown fallback: \"%s\"", fallback),
                            errhint("Use 'error' or 'primary'.")));
        cqrs::Conninfo conninfo = cqrs::parse_conninfo(text_to_cstring(PG_GETARG_TEXT_PP(0)));
        cqrs::Attached attached;
        if (cqrs::find_attached(&attached))
            ereport(ERROR,
                    (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("a replica is attached already"),
                     errhint("Call cqrs.detach_replica() first.")));
        if (!OidIsValid(get_extension_oid("postgres_fdw", true)))
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("extension postgres_fdw is missing"),
                            errdetail("It keeps the connection's parameters."),
                            errhint("Run CREATE EXTENSION postgres_fdw;")));
        cqrs::look_at_replica(
            cqrs::make_address(list_concat_copy(conninfo.server, conninfo.user), 0),
            cqrs::own_source());
        cqrs::CatalogWriter writer = cqrs::begin_catalog_write();
        cqrs::create_server(conninfo);
        Oid types[] = {TEXTOID};
        Datum arguments[] = {CStringGetTextDatum(fallback)};
        cqrs::catalog_execute(
            "INSERT INTO cqrs.attached_replica (server, fallback) VALUES ('cqrs_replica', $1)", 1,
            types, arguments);
        cqrs::end_catalog_write(writer);
        return (Datum)0;
    });
}

Datum cqrs_detach_replica(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    return cqrs::guarded([] {
        cqrs::CatalogWriter writer = cqrs::begin_catalog_write();
        if (cqrs::catalog_execute("DELETE FROM cqrs.attached_replica", 0, nullptr, nullptr) == 0) {
            ereport(NOTICE, (errmsg("no replica is attached, nothing to do")));
        } else {
            // Role's own mappings go as well; foreign tables of the server keep it, by an error.
            cqrs::catalog_execute(
                "DO $$ DECLARE r record; BEGIN "
                "FOR r IN SELECT usename FROM pg_catalog.pg_user_mappings WHERE srvname = "
                "'cqrs_replica' LOOP EXECUTE format('DROP USER MAPPING FOR %s SERVER "
                "cqrs_replica', CASE r.usename WHEN 'public' THEN 'PUBLIC' ELSE "
                "quote_ident(r.usename) END); END LOOP; END $$",
                0, nullptr, nullptr);
            cqrs::catalog_execute("DROP SERVER IF EXISTS cqrs_replica", 0, nullptr, nullptr);
        }
        cqrs::end_catalog_write(writer);
        cqrs::remote_close();
        return (Datum)0;
    });
}

Datum cqrs_attached(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    return cqrs::guarded([]() -> Datum {
        cqrs::Attached attached;
        PG_RETURN_BOOL(cqrs::find_attached(&attached));
    });
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
