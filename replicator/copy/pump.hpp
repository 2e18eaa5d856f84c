// From a COPY TO STDOUT that has begun into a COPY FROM STDIN that has.
#pragma once

#include <cstdint>

#include "copy/progress.hpp"
#include "postgres/connection.hpp"

namespace cqrs::copy {

// The rows copied. Calls `check` now and then: what it throws ends the copy. Throws
// postgres::Error.
template <typename Check>
std::int64_t pump(postgres::Connection& from, postgres::Connection& to, TableProgress& progress,
                  Check check) {
    // A row is a message of the protocol on the way in; on the way out they go many at a time.
    constexpr std::size_t buffer_bytes = 64 * 1024;
    std::string buffer;
    std::int64_t rows = 0, counted = 0, bytes = 0;
    const auto flush = [&] {
        check();
        to.copy_put(buffer);
        progress.count(rows, static_cast<std::int64_t>(buffer.size()));
        counted += rows;
        bytes += static_cast<std::int64_t>(buffer.size());
        rows = 0;
        buffer.clear();
    };
    try {
        std::string_view row;
        while (from.copy_out_next(row)) {
            buffer.append(row);
            ++rows;
            if (buffer.size() >= buffer_bytes) flush();
        }
        flush();
        const std::int64_t copied = to.copy_end();
        progress.count(copied - counted, 0);  // the header of a binary COPY is a message too
        return copied;
    } catch (...) {
        progress.count(-counted, -bytes);
        throw;
    }
}

}  // namespace cqrs::copy
