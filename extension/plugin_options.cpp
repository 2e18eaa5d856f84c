#include "plugin_options.hpp"

extern "C" {
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
}

#include <algorithm>
#include <bitset>
#include <charconv>
#include <string_view>

namespace cqrs {
namespace {

constexpr const char* kHint =
    "Options: format (text, frame), batch_bytes (1024 to 16777216), max_event_bytes (1024 to "
    "536870912), origins (none, any), source (text), heartbeat (at most 64 bytes).";

[[noreturn]] void refuse(const char* format, const char* name, const char* value) {
    const char* message = pg_call([&] { return psprintf(format, name, value); });
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, message, nullptr, kHint);
}

bool choice(const char* name, std::string_view value, std::string_view no, std::string_view yes) {
    if (value != no && value != yes)
        refuse("invalid value for pg_cqrs option \"%s\": \"%s\"", name, value.data());
    return value == yes;
}

std::size_t bytes(const char* name, std::string_view value, std::size_t low, std::size_t high) {
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error == std::errc::invalid_argument || end != value.data() + value.size())
        refuse("invalid value for pg_cqrs option \"%s\": \"%s\"", name, value.data());
    if (error == std::errc::result_out_of_range || number < low || number > high)
        refuse("pg_cqrs option \"%s\" is out of range: \"%s\"", name, value.data());
    return number;
}

}  // namespace

void parse_plugin_options(List* given, PluginOptions& options) {
    enum { format, batch_bytes, max_event_bytes, origins, source, heartbeat, count };
    constexpr const char* names[count] = {"format",  "batch_bytes", "max_event_bytes",
                                          "origins", "source",      "heartbeat"};
    std::bitset<count> seen;
    ListCell* cell;
    foreach (cell, given) {
        auto* option = static_cast<DefElem*>(lfirst(cell));
        int which = 0;
        while (which < count && strcmp(option->defname, names[which]) != 0) which++;
        if (which == count) refuse("unrecognized pg_cqrs option \"%s\"%s", option->defname, "");
        if (seen[which]) refuse("pg_cqrs option \"%s\" is given twice%s", option->defname, "");
        seen[which] = true;
        if (!option->arg) refuse("pg_cqrs option \"%s\" needs a value%s", option->defname, "");

        const char* name = option->defname;
        const std::string_view value = strVal(option->arg);
        switch (which) {
            case format:
                options.frames = choice(name, value, "text", "frame");
                break;
            case origins:
                options.any_origin = choice(name, value, "none", "any");
                break;
            case batch_bytes:
                options.batch_bytes = bytes(name, value, 1024, 16777216);
                break;
            case max_event_bytes:
                options.max_event_bytes = bytes(name, value, 1024, 536870912);
                break;
            case source:
                // A URI reference: printable ASCII.
                if (value.empty() || value.size() > 1024 ||
                    !std::all_of(value.begin(), value.end(),
                                 [](char c) { return c > ' ' && c < 127; }))
                    refuse("invalid value for pg_cqrs option \"%s\": \"%s\"", name, value.data());
                options.source = value;
                break;
            case heartbeat:
                // The token is a secret of a kind: not repeated in the message.
                if (value.empty() || value.size() > 64)
                    refuse("pg_cqrs option \"%s\" needs 1 to 64 bytes%s", name, "");
                options.heartbeat = value;
                break;
        }
    }
}

}  // namespace cqrs
