#include "plugin_encoding.hpp"

extern "C" {
#include "catalog/pg_conversion.h"
#include "catalog/pg_namespace.h"
#include "mb/pg_wchar.h"
}

namespace cqrs {
namespace {

bool ascii(std::string_view text) {
    for (unsigned char c : text)
        if (c >= 0x80) return false;
    return true;
}

bool convert(std::string_view text, std::string_view& converted, int from, int to) {
    // SQL_ASCII says nothing about its bytes: they pass if they happen to be UTF-8.
    if (from == to || from == PG_SQL_ASCII || to == PG_SQL_ASCII || ascii(text)) {
        converted = text;
        return true;
    }
    if (text.size() >= MaxAllocSize / MAX_CONVERSION_GROWTH) return false;
    // pg_catalog's, whatever conversions a role has put in its search_path.
    const Oid function = FindDefaultConversion(PG_CATALOG_NAMESPACE, from, to);
    if (!OidIsValid(function)) return false;
    const int room = static_cast<int>(text.size()) * MAX_CONVERSION_GROWTH + 1;
    auto* out = static_cast<unsigned char*>(palloc(room));
    auto* in = reinterpret_cast<unsigned char*>(const_cast<char*>(text.data()));
    const int done = pg_do_encoding_conversion_buf(function, from, to, in,
                                                   static_cast<int>(text.size()), out, room, true);
    if (done != static_cast<int>(text.size())) return false;
    converted = reinterpret_cast<char*>(out);
    return true;
}

}  // namespace

bool to_utf8(std::string_view text, std::string_view& converted) {
    return convert(text, converted, GetDatabaseEncoding(), PG_UTF8);
}

bool from_utf8(std::string_view text, std::string_view& converted) {
    return convert(text, converted, PG_UTF8, GetDatabaseEncoding());
}

}  // namespace cqrs
