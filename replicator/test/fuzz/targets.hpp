// Fuzz targets: each takes any bytes and aborts, or lets a sanitizer speak, where a promise is
// broken. libFuzzer runs one an executable (scripts/fuzz); the unit tests run all over the corpus.
#pragma once

#include <cstdlib>
#include <string_view>

namespace cqrs::fuzz {

inline void check(bool holds) {
    if (!holds) std::abort();
}

void frame(std::string_view bytes);     // the plugin's frames, as the relay decodes them
void json(std::string_view bytes);      // what the plugin writes, and the checks of what users say
void message(std::string_view bytes);   // the broker's messages, as the applier decodes them
void settings(std::string_view bytes);  // the file of --config, values of settings, URLs

}  // namespace cqrs::fuzz
