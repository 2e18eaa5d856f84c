#include "history/from.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <string_view>

namespace cqrs::history {

namespace {

constexpr std::int64_t second = 1'000'000;

// Takes fixed-width numbers off the front of a text.
struct Scanner {
    std::string_view rest;

    bool number(std::size_t digits, int least, int most, int& out) {
        if (rest.size() < digits) return false;
        const auto [end, error] = std::from_chars(rest.data(), rest.data() + digits, out);
        if (error != std::errc() || end != rest.data() + digits || rest.front() == '-')
            return false;
        rest.remove_prefix(digits);
        return out >= least && out <= most;
    }
    bool skip(std::string_view any_of) {
        if (rest.empty() || any_of.find(rest.front()) == std::string_view::npos) return false;
        rest.remove_prefix(1);
        return true;
    }
};

// ".5" -> 500000; false: no digit behind the point.
bool fraction(Scanner& in, std::int64_t& us) {
    if (!in.skip(".")) return true;
    std::int64_t unit = second / 10;
    bool any = false;
    for (; !in.rest.empty() && in.rest.front() >= '0' && in.rest.front() <= '9'; any = true) {
        us += (in.rest.front() - '0') * unit;
        unit /= 10;
        in.rest.remove_prefix(1);
    }
    return any;
}

bool zone(Scanner& in, std::int64_t& us) {
    if (in.rest.empty() || in.skip("Zz")) return true;
    const bool east = in.rest.front() == '+';
    int hours = 0, minutes = 0;
    if (!in.skip("+-") || !in.number(2, 0, 15, hours)) return false;
    in.skip(":");
    if (!in.rest.empty() && !in.number(2, 0, 59, minutes)) return false;
    const std::int64_t offset = (hours * 3600LL + minutes * 60LL) * second;
    us += east ? -offset : offset;
    return true;
}

std::optional<std::int64_t> parse_time(std::string_view text) {
    Scanner in{text};
    std::tm t{};
    if (!in.number(4, 1970, 9999, t.tm_year) || !in.skip("-") || !in.number(2, 1, 12, t.tm_mon) ||
        !in.skip("-") || !in.number(2, 1, 31, t.tm_mday))
        return std::nullopt;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    std::int64_t us = 0;
    if (in.skip("T ")) {
        if (!in.number(2, 0, 23, t.tm_hour) || !in.skip(":") || !in.number(2, 0, 59, t.tm_min))
            return std::nullopt;
        if (in.skip(":") && (!in.number(2, 0, 59, t.tm_sec) || !fraction(in, us)))
            return std::nullopt;
    }
    const int day = t.tm_mday;
    us += timegm(&t) * second;
    if (t.tm_mday != day || !zone(in, us) || !in.rest.empty()) return std::nullopt;
    return us;
}

}  // namespace

std::optional<From> parse_from(const std::string& text) {
    if (text == "oldest") return From{From::Kind::oldest, 0};
    std::int64_t sequence = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), sequence);
    if (error == std::errc() && end == text.data() + text.size() && sequence > 0)
        return From{From::Kind::sequence, sequence};
    if (const auto us = parse_time(text)) return From{From::Kind::time, *us};
    return std::nullopt;
}

std::string format_time(std::int64_t us) {
    const std::time_t seconds = static_cast<std::time_t>(us / second);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(seconds), us % second);
}

}  // namespace cqrs::history
