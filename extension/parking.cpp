// The worked domain: commands on parking_slots. One command, one statement, its plan kept per
// backend; every rule that is broken has its own SQLSTATE, detail and hint.
#include "catalog.hpp"
#include "notify.hpp"
#include "uuid.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(parking_create);
PG_FUNCTION_INFO_V1(parking_rename);
PG_FUNCTION_INFO_V1(parking_reserve);
PG_FUNCTION_INFO_V1(parking_release);
PG_FUNCTION_INFO_V1(parking_block);
PG_FUNCTION_INFO_V1(parking_delete);
}

namespace parking {
namespace {

constexpr int max_name = 100;  // characters, as the table's CHECK says

enum Statement { insert, rename, change_status, remove, look_up, statement_count };

struct StatementText {
    const char* sql;  // %s is the qualified table
    int arguments;
    Oid types[3];
};

// RETURNING slot: the whole row as one value of the table's type, whatever columns it is given
// later.
constexpr StatementText texts[statement_count] = {
    {"INSERT INTO %s AS slot (uuid, name, status) VALUES ($1, $2, $3) RETURNING slot",
     3,
     {UUIDOID, TEXTOID, TEXTOID}},
    {"UPDATE %s AS slot SET name = $2 WHERE slot.uuid OPERATOR(pg_catalog.=) $1 RETURNING slot",
     2,
     {UUIDOID, TEXTOID}},
    {"UPDATE %s AS slot SET status = $2 WHERE slot.uuid OPERATOR(pg_catalog.=) $1 "
     "AND slot.status OPERATOR(pg_catalog.=) ANY ($3) RETURNING slot",
     3,
     {UUIDOID, TEXTOID, TEXTARRAYOID}},
    {"DELETE FROM %s AS slot WHERE slot.uuid OPERATOR(pg_catalog.=) $1 RETURNING slot",
     1,
     {UUIDOID}},
    {"SELECT slot.status FROM %s AS slot WHERE slot.uuid OPERATOR(pg_catalog.=) $1 FOR UPDATE",
     1,
     {UUIDOID}},
};

// The table stands in the schema of the functions (the extension may be moved). Plans hold its
// qualified name, so they are made again when that changed.
struct Table {
    bool valid = false;
    Oid schema = InvalidOid;
    Oid relation = InvalidOid;
    char name[2 * (2 * NAMEDATALEN + 3)] = "";  // qualified and quoted
    SPIPlanPtr plans[statement_count] = {};
};
Table table;

void forget_table(Datum, int, uint32) {
    table.valid = false;
}

void find_table(FunctionCallInfo fcinfo, const char* command) {
    static bool registered = false;
    if (!registered) {
        CacheRegisterSyscacheCallback(NAMESPACEOID, forget_table, (Datum)0);
        registered = true;
    }
    Oid schema = get_func_namespace(fcinfo->flinfo->fn_oid);
    table.relation = get_relname_relid("parking_slots", schema);
    if (!OidIsValid(table.relation))
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table parking_slots does not exist"),
                 errhint("Run CREATE EXTENSION parking CASCADE in this database.")));
    if (!table.valid || table.schema != schema) {
        table.schema = schema;
        table.valid = true;
        const char* name = cqrs::table_name(table.relation);
        if (strcmp(table.name, name) != 0) {
            strlcpy(table.name, name, sizeof table.name);
            // Not freed: a trigger of the table may have renamed the schema below a running plan.
            for (SPIPlanPtr& plan : table.plans) plan = nullptr;
        }
    }
    cqrs::refuse_on_replica(table.relation, command);
}

uint64 execute(Statement statement, Datum* arguments) {
    const StatementText& text = texts[statement];
    if (table.plans[statement] == nullptr) {
        Oid types[3] = {text.types[0], text.types[1], text.types[2]};
        SPIPlanPtr plan = SPI_prepare_cursor(psprintf(text.sql, table.name), text.arguments, types,
                                             CURSOR_OPT_GENERIC_PLAN);
        if (plan == nullptr || SPI_keepplan(plan) != 0) elog(ERROR, "SPI_prepare failed");
        table.plans[statement] = plan;
    }
    int code = SPI_execute_plan(table.plans[statement], arguments, nullptr, false, 0);
    if (code < 0) elog(ERROR, "SPI failed: %s", SPI_result_code_string(code));
    return SPI_processed;
}

// Ends the command: the row that the statement returned, in the caller's memory context.
Datum finish(cqrs::RowEvent event) {
    bool is_null;
    Datum row = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
    row = SPI_datumTransfer(row, false, -1);
    SPI_finish();
    if (cqrs::notify_wanted()) cqrs::notify_row(table.relation, event, row);
    return row;
}

const char* uuid_text(Datum uuid) {
    return DatumGetCString(DirectFunctionCall1(uuid_out, uuid));
}

// The statement found no row, or (`exists`) something in the database kept it from one.
[[noreturn]] void no_row(Datum uuid, bool exists) {
    if (exists)
        ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                        errmsg("parking slot was not changed"),
                        errdetail("A trigger or a policy of table %s kept slot %s as it is.",
                                  table.name, uuid_text(uuid)),
                        errhint("See \\d %s.", table.name)));
    ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND), errmsg("parking slot does not exist"),
                    errdetail("No slot has the uuid %s.", uuid_text(uuid)),
                    errhint("SELECT * FROM parking_slot_list(); shows those that exist.")));
    pg_unreachable();
}

Datum uuid_argument(FunctionCallInfo fcinfo) {
    if (PG_ARGISNULL(0))
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                 errmsg("the uuid of a parking slot must not be NULL"),
                 errdetail("The command changes one slot."),
                 errhint("SELECT * FROM parking_slot_list(); shows the slots and their uuids.")));
    return PG_GETARG_DATUM(0);
}

Datum name_argument(FunctionCallInfo fcinfo, int number) {
    if (PG_ARGISNULL(number))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("the name of a parking slot must not be NULL"),
                        errdetail("A name has 1 to %d characters.", max_name),
                        errhint("Pass a name such as 'Slot 1'.")));
    text* name = PG_GETARG_TEXT_PP(number);
    int length = pg_mbstrlen_with_len(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
    if (length == 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("the name of a parking slot must not be empty"),
                        errdetail("A name has 1 to %d characters.", max_name),
                        errhint("Pass a name such as 'Slot 1'.")));
    if (length > max_name)
        ereport(ERROR, (errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
                        errmsg("the name of a parking slot is too long"),
                        errdetail("It has %d characters; a name has 1 to %d.", length, max_name),
                        errhint("Shorten it.")));
    return PointerGetDatum(name);
}

Datum status_argument(FunctionCallInfo fcinfo, int number) {
    constexpr const char* hint = "Use 'available', 'blocked' or 'reserved'.";
    if (PG_ARGISNULL(number))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("the status of a parking slot must not be NULL"),
                        errdetail("Leave the argument out for a slot that is available."),
                        errhint("%s", hint)));
    char* status = text_to_cstring(PG_GETARG_TEXT_PP(number));
    if (strcmp(status, "available") != 0 && strcmp(status, "blocked") != 0 &&
        strcmp(status, "reserved") != 0)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("unknown status of a parking slot: \"%s\"", status),
                 errdetail("A slot is available, blocked or reserved."), errhint("%s", hint)));
    return PG_GETARG_DATUM(number);
}

struct Transition {
    const char* command;
    const char* to;
    const char* from[2];
    int from_count;
    const char* hint;
};

constexpr Transition reserve{"reserve_parking_slot",
                             "reserved",
                             {"available", nullptr},
                             1,
                             "Choose a slot that is available, or release this one first."};
constexpr Transition release{"release_parking_slot",
                             "available",
                             {"reserved", "blocked"},
                             2,
                             "Nothing is to be done: it can be reserved as it is."};
constexpr Transition block{"block_parking_slot",
                           "blocked",
                           {"available", "reserved"},
                           2,
                           "Nothing is to be done; release_parking_slot() makes it available."};

bool allowed(const Transition& transition, const char* status) {
    for (int i = 0; i < transition.from_count; i++)
        if (strcmp(transition.from[i], status) == 0) return true;
    return false;
}

// One conditional UPDATE: of two at once the second waits for the first one's row lock and then
// finds the condition false. Only then the row is looked at (and locked) to say why.
Datum change(FunctionCallInfo fcinfo, const Transition& transition) {
    Datum uuid = uuid_argument(fcinfo);
    find_table(fcinfo, transition.command);
    SPI_connect();
    Datum from[2];
    for (int i = 0; i < transition.from_count; i++)
        from[i] = CStringGetTextDatum(transition.from[i]);
    Datum arguments[] = {uuid, CStringGetTextDatum(transition.to),
                         PointerGetDatum(construct_array(from, transition.from_count, TEXTOID, -1,
                                                         false, TYPALIGN_INT))};
    bool locked = false;
    while (execute(change_status, arguments) == 0) {
        if (locked || execute(look_up, arguments) == 0) no_row(uuid, locked);
        const char* status = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
        // It may have changed back between the two statements; now it cannot any more.
        locked = allowed(transition, status);
        if (locked) continue;
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("parking slot cannot become %s", transition.to),
                        errdetail("Slot %s is %s.", uuid_text(uuid), status),
                        errhint("%s", transition.hint)));
    }
    return finish(cqrs::RowEvent::update);
}

}  // namespace
}  // namespace parking

Datum parking_create(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        Datum name = parking::name_argument(fcinfo, 0);
        Datum status = parking::status_argument(fcinfo, 1);
        parking::find_table(fcinfo, "create_parking_slot");
        pg_uuid_t uuid = cqrs::new_uuid();
        Datum arguments[] = {UUIDPGetDatum(&uuid), name, status};
        SPI_connect();
        if (parking::execute(parking::insert, arguments) == 0) parking::no_row(arguments[0], true);
        return parking::finish(cqrs::RowEvent::create);
    });
}

Datum parking_rename(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        Datum arguments[] = {parking::uuid_argument(fcinfo), parking::name_argument(fcinfo, 1)};
        parking::find_table(fcinfo, "rename_parking_slot");
        SPI_connect();
        if (parking::execute(parking::rename, arguments) == 0) parking::no_row(arguments[0], false);
        return parking::finish(cqrs::RowEvent::update);
    });
}

Datum parking_reserve(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] { return parking::change(fcinfo, parking::reserve); });
}

Datum parking_release(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] { return parking::change(fcinfo, parking::release); });
}

Datum parking_block(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] { return parking::change(fcinfo, parking::block); });
}

Datum parking_delete(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        Datum arguments[] = {parking::uuid_argument(fcinfo)};
        parking::find_table(fcinfo, "delete_parking_slot");
        SPI_connect();
        if (parking::execute(parking::remove, arguments) == 0) parking::no_row(arguments[0], false);
        return parking::finish(cqrs::RowEvent::remove);
    });
}
