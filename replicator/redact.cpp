// Takes passwords out of connection strings. It would rather hide too much than too little.
#include "redact.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>

namespace cqrs {
namespace {

constexpr std::string_view stars = "***";

bool is_space(char c) {
    return std::isspace(static_cast<unsigned char>(c)) != 0;
}
bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// What surrounds a URL: words of a message, or nothing, as in an argument of the command line,
// whose passwords may hold white space and quotes.
enum class Around { words, nothing };

bool ends_word(char c, Around around) {
    return around == Around::words && (is_space(c) || c == '"');
}

// The end of the URL or word that begins at `start`: white space, a quote, or the comma before
// the next URL of a list.
std::size_t url_end(std::string_view text, std::size_t start, Around around) {
    for (std::size_t i = start; i < text.size(); ++i) {
        if (ends_word(text[i], around)) return i;
        if (text[i] != ',') continue;
        const auto rest = text.substr(i + 1);
        if (rest.starts_with("amqp") || rest.starts_with("postgres")) return i;
    }
    return text.size();
}

// "user:secret@host" -> "user:***@host": hides what stands between the first ':' and the last '@'.
// A '@' in the query counts only if there is none before it.
std::string redact_authority(std::string_view url) {
    auto sign = url.substr(0, url.find('?')).rfind('@');
    if (sign == std::string_view::npos) sign = url.rfind('@');
    const auto colon = url.find(':');
    if (sign == std::string_view::npos || colon > sign) return std::string(url);
    return std::string(url.substr(0, colon + 1)).append(stars).append(url.substr(sign));
}

// Every URL of the text, and every word that may be one with its scheme misspelt.
std::string redact_userinfo(std::string_view text, Around around) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        if (ends_word(text[at], around) || text[at] == ',') {
            out += text[at++];
            continue;
        }
        const auto end = std::max(at + 1, url_end(text, at, around));
        auto word = text.substr(at, end - at);
        if (const auto scheme = word.find("://"); scheme != std::string_view::npos) {
            out.append(word.substr(0, scheme + 3));
            word.remove_prefix(scheme + 3);
        }
        out.append(redact_authority(word));
        at = end;
    }
    return out;
}

// `word` at `i`, not as the end of a longer word: its value starts behind '=' and white space.
std::size_t value_start(std::string_view text, std::size_t i, std::string_view word) {
    if (text.substr(i, word.size()) != word || (i > 0 && is_word(text[i - 1]))) return 0;
    i += word.size();
    while (i < text.size() && is_space(text[i])) ++i;
    if (i == text.size() || text[i] != '=') return 0;
    ++i;
    while (i < text.size() && is_space(text[i])) ++i;
    return i;
}

// A '&' ends a value of a URL's query, but is part of one of a connection string.
std::size_t value_end(std::string_view text, std::size_t i, bool in_query, Around around) {
    const auto ends = [&](char c) {
        return in_query ? c == '&' || ends_word(c, around) : is_space(c);
    };
    const bool quoted = i < text.size() && text[i] == '\'';
    if (quoted) ++i;
    for (; i < text.size(); ++i) {
        if (text[i] == '\\') {
            ++i;
        } else if (quoted ? text[i] == '\'' : ends(text[i])) {
            return quoted ? i + 1 : i;
        }
    }
    return text.size();
}

std::string redact_keywords(std::string_view text, Around around) {
    static constexpr std::array<std::string_view, 4> secrets = {"password", "sslpassword", "passwd",
                                                                "oauth_client_secret"};
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        std::size_t start = 0;
        for (const auto word : secrets) {
            start = value_start(text, i, word);
            if (start != 0) break;
        }
        if (start == 0) {
            out += text[i++];
            continue;
        }
        out.append(text.substr(i, start - i)).append(stars);
        const bool in_query = i > 0 && (text[i - 1] == '?' || text[i - 1] == '&');
        i = value_end(text, start, in_query, around);
    }
    return out;
}

}  // namespace

std::string redact(const std::string& text) {
    return redact_keywords(redact_userinfo(text, Around::words), Around::words);
}

std::string redact_argument(const std::string& argument) {
    const auto before = argument.substr(0, argument.find("://"));
    const bool url =
        before.size() < argument.size() && std::none_of(before.begin(), before.end(), is_space);
    if (!url) return redact(argument);
    return redact_keywords(redact_userinfo(argument, Around::nothing), Around::nothing);
}

}  // namespace cqrs
