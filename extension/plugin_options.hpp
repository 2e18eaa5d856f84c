// What START_REPLICATION ... (name 'value', ...) and pg_logical_slot_get_changes(..., name, value)
// may say.
#pragma once

#include "guard.hpp"

extern "C" {
#include "nodes/pg_list.h"
}

#include <cstdint>
#include <string>

namespace cqrs {

struct PluginOptions {
    bool frames = false;      // format: text (one event a write) or frame (what the relay reads)
    bool any_origin = false;  // origins: none leaves out what came from another node
    std::size_t batch_bytes = 65536;
    std::size_t max_event_bytes = 15 * 1024 * 1024 - 65536;
    std::string source;     // empty: /<database>/<system identifier>/<timeline>
    std::string heartbeat;  // empty: no heartbeat message is believed
};

// DefElems. Throws SqlError for what is unknown, given twice or out of range.
void parse_plugin_options(List* given, PluginOptions& options);

}  // namespace cqrs
