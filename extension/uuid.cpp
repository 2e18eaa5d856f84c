#include "uuid.hpp"

#include <chrono>
#include <cstdint>

namespace cqrs {

pg_uuid_t new_uuid() {
    // 48 bits of milliseconds, then 12 bits that split a millisecond into 4096 steps of 244 ns: one
    // number that only grows.
    static std::uint64_t last = 0;
    using namespace std::chrono;
    auto now = static_cast<std::uint64_t>(
        duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count());
    std::uint64_t step = now / 1'000'000 * 4096 + now % 1'000'000 * 4096 / 1'000'000;
    last = step > last ? step : last + 1;

    pg_uuid_t uuid;
    if (!pg_strong_random(uuid.data + 8, 8))
        ereport(ERROR,
                (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random numbers")));
    for (int i = 0; i < 6; i++)
        uuid.data[i] = static_cast<unsigned char>(last >> (12 + 8 * (5 - i)));
    uuid.data[6] = static_cast<unsigned char>(0x70 | ((last >> 8) & 0x0f));
    uuid.data[7] = static_cast<unsigned char>(last);
    uuid.data[8] = static_cast<unsigned char>((uuid.data[8] & 0x3f) | 0x80);
    return uuid;
}

}  // namespace cqrs
