// cqrs.attach_replica(), cqrs.detach_replica(): which replica answers, and how it is reached.
#include "attached.hpp"

#include "catalog.hpp"
#include "module.hpp"
#include "source.hpp"

#include <libpq-fe.h>
#include <string>

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(cqrs_attach_replica);
PG_FUNCTION_INFO_V1(cqrs_detach_replica);
PG_FUNCTION_INFO_V1(cqrs_attached);
}

namespace cqrs {
namespace {

constexpr const char* server_name = "cqrs_replica";
constexpr AttrNumber attached_fallback = 2, attached_at = 3;

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

}  // namespace

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

RemoteAddress attached_address(const Attached& attached) {
    ForeignServer* server = GetForeignServerByName(server_name, false);
    UserMapping* user = GetUserMapping(GetUserId(), server->serverid);
    return make_address(list_concat_copy(server->options, user->options),
                        static_cast<uint64>(attached.since) ^ static_cast<uint64>(user->umid)
                                                                  << 40);
}

}  // namespace cqrs

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
