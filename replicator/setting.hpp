// The table of settings: name, environment variable, default, rule. config.cpp gives it to CLI11.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config.hpp"

namespace cqrs {

struct Setting {
    std::string key;    // flag without dashes, key in the file
    std::string env;    // empty: flag only
    std::string value;  // what --help shows for the value; empty: a switch
    std::string help;   // without default and environment variable
    std::string shown;  // the default as --help shows it; empty: none
    unsigned commands;  // who knows it: bits by mask()
    unsigned required;  // who cannot do without it
    bool secret;        // may carry a password: never repeated in an error as it is
    // Checks and stores; returns what was expected if the text is no such value, else "".
    std::function<std::string(const std::string& text, Settings& settings)> store;
};

constexpr unsigned mask(Command command) {
    return 1U << static_cast<unsigned>(command);
}
const std::vector<Setting>& all_settings();

}  // namespace cqrs
