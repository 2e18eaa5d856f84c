// Where to begin in a history: --from of `tail`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace cqrs::history {

struct From {
    enum class Kind { oldest, sequence, time } kind = Kind::oldest;
    std::int64_t value = 0;  // the sequence, or microseconds since 1970
};

// "oldest", an event's number, or a time: 2026-11-25, 2026-11-25T04:30, 2026-11-25
// 04:30:00.5+01:00; UTC where no zone is given. nullopt: none of them.
std::optional<From> parse_from(const std::string& text);

// As events carry it: six digits, Z. Two of them compare as the times do.
std::string format_time(std::int64_t us);

}  // namespace cqrs::history
