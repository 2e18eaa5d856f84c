// The file of --config: the part of TOML that settings need. `key = value` lines, comments; values
// are strings ("..." with escapes, '...' without), integers (1_000), true and false.
#pragma once

#include <map>
#include <string>

namespace cqrs {

struct FileValue {
    std::string text;
    int line = 0;
};

// Throws ConfigError, naming file and line, if the file cannot be read or is not of this form.
// (CLI11's own reader is not used: 2.1 cuts a quoted value at '#' and so would alter a password.)
std::map<std::string, FileValue> read_config_file(const std::string& path);

}  // namespace cqrs
