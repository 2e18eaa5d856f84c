#include "event.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#ifdef POSTGRES_H
#error "event.cpp is pure C++: no Postgres header may come in"
#endif

namespace cqrs {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";
constexpr std::string_view kHexUpper = "0123456789ABCDEF";

bool digit(char c) {
    return c >= '0' && c <= '9';
}
bool letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool word_char(char c) {
    return letter(c) || digit(c) || c == '_' || c == '-';
}

// Bytes that go into a JSON string as they are: ASCII but controls, quote and backslash.
constexpr std::array<bool, 256> make_plain() {
    std::array<bool, 256> plain{};
    for (int c = 0x20; c < 0x80; c++) plain[c] = c != '"' && c != '\\';
    return plain;
}
constexpr std::array<bool, 256> kPlain = make_plain();

// Length of the plain bytes that s begins with, eight at a time.
std::size_t plain_length(const char* s, std::size_t n) {
    constexpr std::uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        std::uint64_t w;
        std::memcpy(&w, s + i, 8);
        const std::uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
        // The classic tests "a byte is zero" and "a byte is below 0x20"; a high bit ends it as
        // well.
        if ((w | (w - ones * 0x20) | (quote - ones) | (slash - ones)) & high) break;
    }
    while (i < n && kPlain[static_cast<unsigned char>(s[i])]) i++;
    return i;
}

// Length of the UTF-8 sequence (of more than one byte) at s, 0 if there is none: no overlong forms,
// surrogates or values past U+10FFFF.
std::size_t utf8_sequence(const unsigned char* s, std::size_t n) {
    auto tail = [&](std::size_t i) { return i < n && (s[i] & 0xC0) == 0x80; };
    const unsigned char c = s[0];
    if (c >= 0xC2 && c <= 0xDF) return tail(1) ? 2 : 0;
    if (c >= 0xE0 && c <= 0xEF) {
        if (!tail(1) || !tail(2)) return 0;
        if (c == 0xE0 && s[1] < 0xA0) return 0;
        if (c == 0xED && s[1] > 0x9F) return 0;
        return 3;
    }
    if (c >= 0xF0 && c <= 0xF4) {
        if (!tail(1) || !tail(2) || !tail(3)) return 0;
        if (c == 0xF0 && s[1] < 0x90) return 0;
        if (c == 0xF4 && s[1] > 0x8F) return 0;
        return 4;
    }
    return 0;
}

void append_escape(std::string& out, char c) {
    switch (c) {
        case '"':
            out.append("\\\"");
            return;
        case '\\':
            out.append("\\\\");
            return;
        case '\b':
            out.append("\\b");
            return;
        case '\f':
            out.append("\\f");
            return;
        case '\n':
            out.append("\\n");
            return;
        case '\r':
            out.append("\\r");
            return;
        case '\t':
            out.append("\\t");
            return;
        default:
            out.append("\\u00");
            out.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
            out.push_back(kHex[c & 15]);
    }
}

void append_digits(std::string& out, std::uint64_t value, int width) {
    std::array<char, 20> digits;
    for (int i = width; i-- > 0; value /= 10) digits[i] = static_cast<char>('0' + value % 10);
    out.append(digits.data(), width);
}

void append_attribute(std::string& out, std::string_view name, std::string_view value) {
    if (value.empty()) return;
    const std::size_t start = out.size();
    out.append(",\"").append(name).append("\":");
    if (!append_json_string(out, value)) out.resize(start);
}

}  // namespace

bool append_json_string(std::string& out, std::string_view s) {
    out.push_back('"');
    const char* p = s.data();
    std::size_t n = s.size();
    while (true) {
        std::size_t run = plain_length(p, n);
        // Multi-byte characters belong to the run.
        while (run < n && static_cast<unsigned char>(p[run]) >= 0x80) {
            const std::size_t length =
                utf8_sequence(reinterpret_cast<const unsigned char*>(p) + run, n - run);
            if (length == 0) return false;
            run += length;
            run += plain_length(p + run, n - run);
        }
        out.append(p, run);
        if (run == n) break;
        append_escape(out, p[run]);
        p += run + 1;
        n -= run + 1;
    }
    out.push_back('"');
    return true;
}

bool valid_utf8(std::string_view s) {
    const auto* p = reinterpret_cast<const unsigned char*>(s.data());
    std::size_t n = s.size();
    while (n > 0) {
        std::size_t step = 1;
        std::uint64_t w;
        if (n >= 8 && (std::memcpy(&w, p, 8), (w & 0x8080808080808080) == 0))
            step = 8;
        else if (*p >= 0x80 && (step = utf8_sequence(p, n)) == 0)
            return false;
        p += step;
        n -= step;
    }
    return true;
}

int json_depth(std::string_view json, int limit) {
    int depth = 0, deepest = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < json.size(); i++) {
        const char c = json[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            deepest = std::max(deepest, ++depth);
            if (deepest > limit) break;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return deepest;
}

void append_integer(std::string& out, std::int64_t value) {
    std::array<char, 24> text;
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    out.append(text.data(), end - text.data());
}

void append_lsn(std::string& out, std::uint64_t lsn) {
    std::array<char, 20> text;
    auto hex = [&](char* at, std::uint32_t value) {
        char* end = std::to_chars(at, text.data() + text.size(), value, 16).ptr;
        for (char* p = at; p != end; p++)
            if (*p >= 'a') *p = static_cast<char>(*p - 'a' + 'A');
        return end;
    };
    char* p = hex(text.data(), static_cast<std::uint32_t>(lsn >> 32));
    *p++ = '/';
    p = hex(p, static_cast<std::uint32_t>(lsn));
    out.append(text.data(), p - text.data());
}

void append_time(std::string& out, std::int64_t unix_us) {
    // 0000-01-01 and the last microsecond of 9999: what RFC 3339 can say.
    constexpr std::int64_t first = -62167219200000000, last = 253402300799999999;
    unix_us = std::clamp(unix_us, first, last);
    constexpr std::int64_t day_us = 86400000000;
    std::int64_t days = unix_us / day_us, us = unix_us % day_us;
    if (us < 0) us += day_us, days--;
    // Days to civil date, in eras of 400 years that begin on 1 March.
    const std::int64_t z = days + 719468;
    const std::int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    const auto doe = static_cast<std::uint32_t>(z - era * 146097);
    const std::uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    const std::uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    const std::uint32_t mp = (5 * doy + 2) / 153;
    const std::uint32_t month = mp < 10 ? mp + 3 : mp - 9;
    const std::int64_t year = static_cast<std::int64_t>(yoe) + era * 400 + (month <= 2 ? 1 : 0);
    append_digits(out, static_cast<std::uint64_t>(year), 4);
    out.push_back('-');
    append_digits(out, month, 2);
    out.push_back('-');
    append_digits(out, doy - (153 * mp + 2) / 5 + 1, 2);
    out.push_back('T');
    append_digits(out, us / 3600000000, 2);
    out.push_back(':');
    append_digits(out, us / 60000000 % 60, 2);
    out.push_back(':');
    append_digits(out, us / 1000000 % 60, 2);
    out.push_back('.');
    append_digits(out, us % 1000000, 6);
    out.push_back('Z');
}

void append_percent_encoded(std::string& out, std::string_view s) {
    for (char c : s) {
        if (word_char(c) || c == '.' || c == '~') {
            out.push_back(c);
        } else {
            out.push_back('%');
            out.push_back(kHexUpper[static_cast<unsigned char>(c) >> 4]);
            out.push_back(kHexUpper[c & 15]);
        }
    }
}

bool valid_prefix(std::string_view prefix) {
    if (prefix.empty() || prefix.size() > kMaxPrefix || !letter(prefix[0])) return false;
    return std::all_of(prefix.begin(), prefix.end(),
                       [](char c) { return word_char(c) || c == '.'; }) &&
           prefix.back() != '.' && prefix.find("..") == std::string_view::npos &&
           !reserved_topic(topic_of(prefix));
}

bool valid_type(std::string_view type) {
    const auto [prefix, verb] = split_type(type);
    return type.size() <= kMaxType && !verb.empty() &&
           std::all_of(verb.begin(), verb.end(), word_char) && !prefix.empty() &&
           letter(prefix[0]) && prefix.back() != '.' &&
           std::all_of(prefix.begin(), prefix.end(),
                       [](char c) { return word_char(c) || c == '.'; }) &&
           prefix.find("..") == std::string_view::npos && !reserved_topic(topic_of(type));
}

bool reserved_topic(std::string_view topic) {
    return topic == "cqrs" || topic == "heartbeat";
}

std::string_view topic_of(std::string_view prefix_or_type) {
    return prefix_or_type.substr(0, prefix_or_type.find('.'));
}

bool table_verb(std::string_view word) {
    constexpr std::array<std::string_view, 6> verbs = {"create",   "update", "delete",
                                                       "truncate", "resync", "stop"};
    return std::find(verbs.begin(), verbs.end(), word) != verbs.end();
}

TypeParts split_type(std::string_view type) {
    const auto dot = type.rfind('.');
    if (dot == std::string_view::npos) return {{}, type};
    return {type.substr(0, dot), type.substr(dot + 1)};
}

bool valid_context(std::string_view value) {
    return value.size() <= 255 && valid_utf8(value) &&
           std::none_of(value.begin(), value.end(),
                        [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

bool valid_traceparent(std::string_view value) {
    auto hex = [&](std::size_t at, std::size_t n) {
        return std::all_of(value.begin() + at, value.begin() + at + n,
                           [](char c) { return digit(c) || (c >= 'a' && c <= 'f'); });
    };
    auto zero = [&](std::size_t at, std::size_t n) {
        return std::all_of(value.begin() + at, value.begin() + at + n,
                           [](char c) { return c == '0'; });
    };
    return value.size() == 55 && value[2] == '-' && value[35] == '-' && value[52] == '-' &&
           hex(0, 2) && hex(3, 32) && hex(36, 16) && hex(53, 2) && value.substr(0, 2) != "ff" &&
           !zero(3, 32) && !zero(36, 16);
}

Envelope::Envelope(std::string_view source) {
    source_ = "\",\"source\":";
    const std::size_t start = source_.size();
    if (!append_json_string(source_, source)) {
        source_.resize(start);
        source_.append("\"/\"");
    }
    source_.append(",\"type\":\"");
}

void Envelope::begin_transaction(std::uint64_t end_lsn, std::int64_t commit_time_us) {
    lsn_ = end_lsn;
    head_ = "{\"specversion\":\"1.0\",\"id\":\"";
    append_lsn(head_, end_lsn);
    begin(commit_time_us);
}

void Envelope::begin_transaction(std::string_view name, std::int64_t time_us) {
    lsn_ = 0;
    head_ = "{\"specversion\":\"1.0\",\"id\":\"";
    head_.append(name);
    begin(time_us);
}

void Envelope::begin(std::int64_t time_us) {
    time_us_ = time_us;
    count_ = 0;
    context_.clear();
    head_.push_back('.');
    time_ = "\",\"time\":\"";
    append_time(time_, time_us);
    time_.push_back('"');
}

void Envelope::set_context(std::string_view correlationid, std::string_view causationid,
                           std::string_view traceparent) {
    context_.clear();
    append_attribute(context_, "correlationid", correlationid);
    append_attribute(context_, "causationid", causationid);
    append_attribute(context_, "traceparent", traceparent);
}

void Envelope::open(std::string& out, std::string_view type) {
    out.append(head_);
    append_integer(out, static_cast<std::int64_t>(++count_));
    out.append(source_).append(type).append(time_).append(context_);
}

}  // namespace cqrs
