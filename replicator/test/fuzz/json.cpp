// The JSON writer takes any bytes: what it writes, a parser reads back as they were.
#include <simdjson.h>

#include <string>

#include "event.hpp"
#include "targets.hpp"

namespace cqrs::fuzz {

void json(std::string_view bytes) {
    std::string text;
    const bool written = append_json_string(text, bytes);
    check(written == valid_utf8(bytes));
    if (written) {
        std::string data = bytes.empty() ? "" : std::string(bytes);
        Envelope envelope(data);
        envelope.begin_transaction(0x16B3748, 1'764'000'000'000'000);
        if (valid_context(data)) envelope.set_context(data, data, "");
        std::string event;
        envelope.open(event, "parking.create");
        event += ",\"data\":" + text + "}";
        simdjson::dom::parser parser;
        const simdjson::dom::element whole = parser.parse(event);
        check(std::string_view(whole["data"]) == bytes &&
              std::string_view(whole["source"]) == data);
        if (valid_context(data) && !data.empty())
            check(std::string_view(whole["correlationid"]) == data);
    }
    json_depth(bytes, kMaxJsonDepth);
    const TypeParts parts = split_type(bytes);
    check(!valid_type(bytes) || valid_prefix(parts.prefix) || parts.prefix.size() > kMaxPrefix);
    valid_traceparent(bytes);
    std::string encoded;
    append_percent_encoded(encoded, bytes);
    check(valid_utf8(encoded));
}

}  // namespace cqrs::fuzz
