#include "plugin_row.hpp"

#include "event.hpp"
#include "plugin_encoding.hpp"

extern "C" {
#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
}

#include <cmath>

namespace cqrs {
namespace {

// Above this, a value's text can come near the largest allocation, whatever its type.
constexpr std::size_t kCareful = 1024 * 1024;

bool fail(Failure& failure, const Column& column, const char* reason) {
    failure.column = &column;
    failure.reason.set(reason);
    return false;
}

void append_float(std::string& out, const char* text, int length, bool finite) {
    if (!finite) out.push_back('"');
    out.append(text, length);
    if (!finite) out.push_back('"');
}

void append_uuid(std::string& out, const unsigned char* bytes) {
    constexpr char hex[] = "0123456789abcdef";
    char text[38];
    char* p = text;
    *p++ = '"';
    for (int i = 0; i < UUID_LEN; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
        *p++ = hex[bytes[i] >> 4];
        *p++ = hex[bytes[i] & 15];
    }
    *p++ = '"';
    out.append(text, p - text);
}

// As date_out, timestamp_out and timestamptz_out print with DateStyle ISO; false if out of range.
bool append_date(std::string& out, DateADT date) {
    char text[MAXDATELEN + 1];
    if (DATE_IS_NOBEGIN(date) || DATE_IS_NOEND(date)) {
        out.append(DATE_IS_NOBEGIN(date) ? "\"-infinity\"" : "\"infinity\"");
        return true;
    }
    struct pg_tm tm = {};
    j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
    EncodeDateOnly(&tm, USE_ISO_DATES, text);
    out.append("\"").append(text).append("\"");
    return true;
}

bool append_timestamp(std::string& out, Timestamp time, bool with_zone) {
    char text[MAXDATELEN + 1];
    if (TIMESTAMP_NOT_FINITE(time)) {
        out.append(TIMESTAMP_IS_NOBEGIN(time) ? "\"-infinity\"" : "\"infinity\"");
        return true;
    }
    struct pg_tm tm = {};
    fsec_t fraction;
    int zone = 0;
    const char* zone_name = nullptr;
    if (timestamp2tm(time, with_zone ? &zone : nullptr, &tm, &fraction,
                     with_zone ? &zone_name : nullptr, nullptr) != 0)
        return false;
    EncodeDateTime(&tm, fraction, with_zone, zone, zone_name, USE_ISO_DATES, text);
    out.append("\"").append(text).append("\"");
    return true;
}

bool is_number(std::string_view text) {
    const std::size_t first = !text.empty() && text[0] == '-' ? 1 : 0;
    return text.size() > first && text[first] >= '0' && text[first] <= '9';
}

// json keeps the white space that it was given.
bool is_json_null(std::string_view text) {
    constexpr std::string_view space = " \t\n\r";
    const std::size_t first = text.find_first_not_of(space);
    return first != std::string_view::npos &&
           text.substr(first, text.find_last_not_of(space) + 1 - first) == "null";
}

// A value in TOAST that the change did not touch: WAL holds only the pointer.
bool unchanged_toast(const Column& column, Datum value) {
    return column.varlena && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

std::string_view text_of(Datum value) {
    Pointer p = DatumGetPointer(value);
    return {VARDATA_ANY(p), static_cast<std::size_t>(VARSIZE_ANY_EXHDR(p))};
}

}  // namespace

RowWriter::RowWriter(std::size_t max_event_bytes) : max_event_bytes_(max_event_bytes) {
    for (Values* values : {&row_, &old_}) {
        values->datums = std::make_unique<Datum[]>(MaxHeapAttributeNumber);
        values->nulls = std::make_unique<bool[]>(MaxHeapAttributeNumber);
    }
}

void RowWriter::load(TupleDesc layout, HeapTuple row, HeapTuple old_row) {
    row_.present = row != nullptr;
    old_.present = old_row != nullptr;
    if (row) heap_deform_tuple(row, layout, row_.datums.get(), row_.nulls.get());
    if (old_row) heap_deform_tuple(old_row, layout, old_.datums.get(), old_.nulls.get());
}

// pick(column, value, null) finds a column's value, false leaves the column out.
template <class Pick>
bool RowWriter::write_object(std::string& out, const Table& table, Part part, Failure& failure,
                             Pick&& pick) {
    const std::size_t start = out.size();
    json_nulls_.clear();
    for (const Column& column : table.columns) {
        if (part == Part::key && !column.key) continue;
        Datum value = 0;
        bool null = false;
        const int picked = pick(column, value, null);
        if (picked == 0) continue;
        if (picked < 0) return fail(failure, column, "its value is not in WAL");
        out.append(column.name);
        if (null)
            out.append("null", 4);
        else if (!write_value(out, column, value, failure))
            return false;
        if (out.size() - start > max_event_bytes_)
            return fail(failure, column, "the event exceeds max_event_bytes");
    }
    // Each name brought its comma; the first one opens the object.
    if (out.size() == start)
        out.push_back('{');
    else
        out[start] = '{';
    out.push_back('}');
    return true;
}

bool RowWriter::write_row(std::string& out, const Table& table, bool insert, Failure& failure) {
    return write_object(out, table, Part::all, failure,
                        [&](const Column& column, Datum& value, bool& null) {
                            value = row_.datums[column.index];
                            null = row_.nulls[column.index];
                            if (null || !unchanged_toast(column, value)) return 1;
                            if (insert) return -1;
                            if (!old_.present || old_.nulls[column.index]) return 0;
                            value = old_.datums[column.index];
                            return unchanged_toast(column, value) ? 0 : 1;
                        });
}

bool RowWriter::write_old(std::string& out, const Table& table, Part part, Failure& failure) {
    return write_object(out, table, part, failure,
                        [&](const Column& column, Datum& value, bool& null) {
                            value = old_.datums[column.index];
                            null = old_.nulls[column.index];
                            return null || !unchanged_toast(column, value) ? 1 : -1;
                        });
}

bool RowWriter::write_new_key(std::string& out, const Table& table, Failure& failure) {
    return write_object(out, table, table.has_key ? Part::key : Part::all, failure,
                        [&](const Column& column, Datum& value, bool& null) {
                            value = row_.datums[column.index];
                            null = row_.nulls[column.index];
                            if (null || !unchanged_toast(column, value)) return 1;
                            if (!old_.present) return -1;
                            value = old_.datums[column.index];
                            null = old_.nulls[column.index];
                            return null || !unchanged_toast(column, value) ? 1 : -1;
                        });
}

bool RowWriter::write_value(std::string& out, const Column& column, Datum value, Failure& failure) {
    switch (column.writer) {
        case Writer::int2:
            append_integer(out, DatumGetInt16(value));
            return true;
        case Writer::int4:
            append_integer(out, DatumGetInt32(value));
            return true;
        case Writer::int8:
            append_integer(out, DatumGetInt64(value));
            return true;
        case Writer::boolean:
            out.append(DatumGetBool(value) ? "true" : "false");
            return true;
        case Writer::float4: {
            char text[FLOAT_SHORTEST_DECIMAL_LEN];
            const float number = DatumGetFloat4(value);
            append_float(out, text, float_to_shortest_decimal_buf(number, text),
                         std::isfinite(number));
            return true;
        }
        case Writer::float8: {
            char text[DOUBLE_SHORTEST_DECIMAL_LEN];
            const double number = DatumGetFloat8(value);
            append_float(out, text, double_to_shortest_decimal_buf(number, text),
                         std::isfinite(number));
            return true;
        }
        case Writer::uuid:
            append_uuid(out, DatumGetUUIDP(value)->data);
            return true;
        case Writer::name:
            return write_utf8(out, column, NameStr(*DatumGetName(value)), failure);
        case Writer::date:
            append_date(out, DatumGetDateADT(value));
            return true;
        case Writer::timestamp:
        case Writer::timestamptz:
            return append_timestamp(out, DatumGetTimestamp(value),
                                    column.writer == Writer::timestamptz) ||
                   fail(failure, column, "timestamp out of range");
        case Writer::enumeration: {
            HeapTuple label = SearchSysCache1(ENUMOID, value);
            if (!HeapTupleIsValid(label)) return fail(failure, column, "unknown value of an enum");
            NameData name = reinterpret_cast<Form_pg_enum>(GETSTRUCT(label))->enumlabel;
            ReleaseSysCache(label);
            return write_utf8(out, column, NameStr(name), failure);
        }
        default:
            return column.varlena ? write_varlena(out, column, value, failure)
                                  : write_output(out, column, value, column.foreign, failure);
    }
}

bool RowWriter::write_varlena(std::string& out, const Column& column, Datum value,
                              Failure& failure) {
    Pointer p = DatumGetPointer(value);
    std::size_t size = VARSIZE_ANY_EXHDR(p);
    if (VARATT_IS_EXTERNAL(p) || VARATT_IS_COMPRESSED(p)) {
        // The size is known without unpacking: what could not be sent anyway is not unpacked.
        size = toast_raw_datum_size(value) - VARHDRSZ;
        if (size > max_event_bytes_)
            return fail(failure, column, "the value exceeds max_event_bytes");
        if (!attempt(failure.reason, [&] {
                value =
                    PointerGetDatum(pg_detoast_datum_packed(reinterpret_cast<struct varlena*>(p)));
            })) {
            failure.column = &column;
            return false;
        }
    }
    if (size > max_event_bytes_) return fail(failure, column, "the value exceeds max_event_bytes");
    switch (column.writer) {
        case Writer::text:
            return write_utf8(out, column, text_of(value), failure);
        case Writer::json:
            return write_json(out, column, text_of(value), failure);
        default:
            return write_output(out, column, value, column.foreign || size > kCareful, failure);
    }
}

bool RowWriter::write_output(std::string& out, const Column& column, Datum value, bool careful,
                             Failure& failure) {
    // The function keeps its caches in fn_extra: it is the column's own, and not part of what it
    // says.
    auto* output = const_cast<FmgrInfo*>(&column.output);
    char* text = nullptr;
    if (!careful) {
        text = OutputFunctionCall(output, value);
    } else if (!attempt(failure.reason, [&] { text = OutputFunctionCall(output, value); })) {
        failure.column = &column;
        return false;
    }
    const std::string_view view(text);
    if (view.size() > max_event_bytes_)
        return fail(failure, column, "the value exceeds max_event_bytes");
    if (column.writer == Writer::jsonb) return write_json(out, column, view, failure);
    if (column.writer == Writer::number && is_number(view)) {
        out.append(view);
        return true;
    }
    return write_utf8(out, column, view, failure);
}

bool RowWriter::write_utf8(std::string& out, const Column& column, std::string_view text,
                           Failure& failure) {
    if (to_utf8(text, text) && append_json_string(out, text)) return true;
    return fail(failure, column, "the value cannot be said in UTF-8");
}

bool RowWriter::write_json(std::string& out, const Column& column, std::string_view text,
                           Failure& failure) {
    if (!to_utf8(text, text) || !valid_utf8(text))
        return fail(failure, column, "the value cannot be said in UTF-8");
    if (json_depth(text, kMaxJsonDepth) > kMaxJsonDepth)
        return fail(failure, column, "JSON nested deeper than 512 levels");
    out.append(text);
    if (is_json_null(text)) json_nulls_.append(column.name, 0, column.name.size() - 1);  // ,"name":
    return true;
}

std::string RowWriter::json_nulls() const {
    if (json_nulls_.empty()) return {};
    std::string names = json_nulls_, out = ",\"jsonnulls\":";
    names[0] = '[';
    names.push_back(']');
    return append_json_string(out, names) ? out : std::string();
}

}  // namespace cqrs
