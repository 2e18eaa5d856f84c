#include "config_file.hpp"

#include <fmt/format.h>

#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>

#include "config.hpp"

namespace cqrs {
namespace {

class Line {
  public:
    Line(const std::string& path, int number, std::string_view rest)
        : path_(path), number_(number), rest_(rest) {}

    [[noreturn]] void fail(std::string_view problem) const {
        throw ConfigError(fmt::format("{}, line {}: {}", path_, number_, problem));
    }
    void skip_space() {
        while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t')) rest_.remove_prefix(1);
    }
    bool done() const { return rest_.empty() || rest_[0] == '#'; }

    std::string key() {
        std::size_t n = 0;
        while (n < rest_.size() && (std::isalnum(static_cast<unsigned char>(rest_[n])) != 0 ||
                                    rest_[n] == '-' || rest_[n] == '_')) {
            ++n;
        }
        if (n == 0) fail("expected `setting = value` (no [sections]; quote strings)");
        std::string name(rest_.substr(0, n));
        rest_.remove_prefix(n);
        skip_space();
        if (rest_.empty() || rest_[0] != '=') fail("expected = after " + name);
        rest_.remove_prefix(1);
        skip_space();
        return name;
    }

    std::string value() {
        std::string text;
        if (rest_.starts_with("\"\"\"") || rest_.starts_with("'''")) {
            fail("strings over several lines are not supported");
        } else if (rest_.starts_with('"')) {
            text = basic_string();
        } else if (rest_.starts_with('\'')) {
            const auto end = rest_.find('\'', 1);
            if (end == std::string_view::npos) fail("the string is not closed");
            text = rest_.substr(1, end - 1);
            rest_.remove_prefix(end + 1);
        } else {
            text = bare();
        }
        skip_space();
        if (!done()) fail("unexpected text after the value");
        return text;
    }

  private:
    std::string basic_string() {
        std::string text;
        for (std::size_t i = 1; i < rest_.size(); ++i) {
            char c = rest_[i];
            if (c == '"') {
                rest_.remove_prefix(i + 1);
                return text;
            }
            if (c == '\\') {
                ++i;
                c = i < rest_.size() ? rest_[i] : '\0';
                if (c == 'n') {
                    c = '\n';
                } else if (c == 't') {
                    c = '\t';
                } else if (c != '"' && c != '\\') {
                    fail("unknown escape; use \\\\ \\\" \\n \\t or a '...' string");
                }
            }
            text += c;
        }
        fail("the string is not closed");
    }

    std::string bare() {
        std::size_t n = 0;
        while (n < rest_.size() && rest_[n] != ' ' && rest_[n] != '\t' && rest_[n] != '#') ++n;
        const auto word = rest_.substr(0, n);
        rest_.remove_prefix(n);
        if (word == "true" || word == "false") return std::string(word);
        std::string digits;
        for (const char c : word) {
            if (c == '_') continue;
            if (c < '0' || c > '9') fail("expected a quoted string, an integer, true or false");
            digits += c;
        }
        if (digits.empty()) fail("the value is missing");
        return digits;
    }

    const std::string& path_;
    int number_;
    std::string_view rest_;
};

}  // namespace

std::map<std::string, FileValue> read_config_file(const std::string& path) {
    std::ifstream in(path);
    if (!in) {
        throw ConfigError(fmt::format("--config (CQRS_CONFIG): cannot read \"{}\": {}", path,
                                      std::strerror(errno)));
    }
    std::map<std::string, FileValue> values;
    std::string text;
    int number = 0;
    while (std::getline(in, text)) {
        ++number;
        // The byte order mark of some editors.
        if (number == 1 && text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
        if (!text.empty() && text.back() == '\r') text.pop_back();
        Line line(path, number, text);
        line.skip_space();
        if (line.done()) continue;
        const auto key = line.key();
        const auto value = line.value();
        if (!values.emplace(key, FileValue{value, number}).second) {
            line.fail(key + " is set twice");
        }
    }
    if (in.bad()) throw ConfigError(fmt::format("--config (CQRS_CONFIG): error reading {}", path));
    return values;
}

}  // namespace cqrs
