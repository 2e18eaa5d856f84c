// cqrs.emit(): domain events, and cqrs.set_context(): what the transaction's events belong to. Both
// travel as transactional logical messages in UTF-8; the plugin checks their
// bytes again, as any role can write such a message.
#include "catalog.hpp"
#include "compat.hpp"
#include "event.hpp"
#include "notify.hpp"

#include <string_view>

extern "C" {
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(cqrs_emit);
PG_FUNCTION_INFO_V1(cqrs_set_context);
}

namespace cqrs {
namespace {

constexpr size_t max_data = size_t{14} << 20;  // below the relay's largest event (15 MiB)
constexpr size_t max_attribute = 255;

void check_type(const char* type) {
    const char* wrong = nullptr;
    if (strlen(type) > kMaxType)
        wrong = "It is longer than 63 bytes.";
    else if (reserved_topic(topic_of(type)))
        wrong = "The topics \"cqrs\" and \"heartbeat\" are reserved.";
    else if (!valid_type(type))
        wrong = "It is not two or more words joined by dots, the first beginning with a letter.";
    if (wrong != nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("invalid event type \"%s\"", type), errdetail("%s", wrong),
                 errhint("Use two or more words of ASCII letters, digits, underscores and hyphens, "
                         "joined by dots: 'parking.opened'.")));
    TypeParts parts = split_type(type);
    if (!table_verb(parts.verb)) return;
    Oid relation;
    char* prefix = pnstrdup(parts.prefix.data(), parts.prefix.size());
    if (find_published_prefix(prefix, &relation))
        ereport(ERROR,
                (errcode(ERRCODE_RESERVED_NAME), errmsg("event type \"%s\" is reserved", type),
                 errdetail("It says that a row of %s changed; only a change of the table can.",
                           table_name(relation)),
                 errhint("Choose another last word than create, update, delete, truncate, "
                         "resync and stop.")));
}

char* utf8(char* text) {
    return pg_server_to_any(text, static_cast<int>(strlen(text)), PG_UTF8);
}

void check_attribute(const char* name, std::string_view value) {
    if (value.size() > max_attribute)
        ereport(ERROR,
                (errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION), errmsg("%s is too long", name),
                 errdetail("It has %zu bytes in UTF-8; at most 255 are allowed.", value.size()),
                 errhint("Pass an identifier, and the rest in the event's data.")));
    for (unsigned char c : value)
        if (c < 0x20 || c == 0x7f)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("%s holds a control character", name),
                            errdetail("CloudEvents attributes are printable text."),
                            errhint("Encode it, for example with encode(..., 'hex').")));
}

char* attribute(FunctionCallInfo fcinfo, int number, const char* name) {
    if (PG_ARGISNULL(number)) return pstrdup("");
    char* value = utf8(text_to_cstring(PG_GETARG_TEXT_PP(number)));
    check_attribute(name, value);
    return value;
}

}  // namespace
}  // namespace cqrs

Datum cqrs_emit(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                            errmsg("the %s of an event must not be NULL",
                                   PG_ARGISNULL(0) ? "type" : "data"),
                            errhint("Pass '{}' for an event without data.")));
        char* type = text_to_cstring(PG_GETARG_TEXT_PP(0));
        cqrs::check_type(type);
        Jsonb* data = PG_GETARG_JSONB_P(1);
        char* json = cqrs::utf8(JsonbToCString(nullptr, &data->root, VARSIZE(data)));
        size_t type_size = strlen(type) + 1, json_size = strlen(json);
        if (json_size > cqrs::max_data)
            ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                            errmsg("the data of event \"%s\" is too large", type),
                            errdetail("It has %zu bytes; at most %zu are allowed.", json_size,
                                      cqrs::max_data),
                            errhint("Store it in a table and emit its key.")));
        if (cqrs::json_depth({json, json_size}, cqrs::kMaxJsonDepth) > cqrs::kMaxJsonDepth)
            ereport(ERROR, (errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
                            errmsg("the data of event \"%s\" nests too deeply", type),
                            errdetail("Arrays and objects may nest %d deep.", cqrs::kMaxJsonDepth),
                            errhint("Flatten it, or pass the inner part as a string.")));
        char* bytes = static_cast<char*>(palloc(type_size + json_size));
        memcpy(bytes, type, type_size);
        memcpy(bytes + type_size, json, json_size);
        cqrs::log_transactional_message("cqrs.event", bytes, type_size + json_size);
        if (cqrs::notify_wanted()) cqrs::notify_event(type, json);
        return (Datum)0;
    });
}

Datum cqrs_set_context(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        const char* values[] = {cqrs::attribute(fcinfo, 0, "correlationid"),
                                cqrs::attribute(fcinfo, 1, "causationid"),
                                cqrs::attribute(fcinfo, 2, "traceparent")};
        if (values[2][0] != '\0' && !cqrs::valid_traceparent(values[2]))
            ereport(ERROR,
                    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                     errmsg("invalid traceparent \"%s\"", values[2]),
                     errdetail(
                         "W3C Trace Context: <version>-<trace id>-<parent id>-<flags>, lower-case "
                         "hexadecimal digits, 2, 32, 16 and 2 of them."),
                     errhint("Pass the header as your tracer made it, or NULL.")));
        char bytes[3 * (cqrs::max_attribute + 1)];
        size_t size = 0;
        for (int i = 0; i < 3; i++) {
            size_t length = strlen(values[i]);
            memcpy(bytes + size, values[i], length);
            size += length;
            if (i < 2) bytes[size++] = '\0';
        }
        cqrs::log_transactional_message("cqrs.context", bytes, size);
        cqrs::set_notify_context(values[0], values[1], values[2]);
        return (Datum)0;
    });
}
