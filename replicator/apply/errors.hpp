// What can end a batch, and what the worker does about it. Beside these: postgres::Error and
// broker::Error, which start the session over.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace cqrs::apply {

// The message is not one of ours or is damaged: it is acknowledged, counted and named. If it did
// hold events, the gap check finds them missing.
struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Going on would be wrong and trying again will not help until somebody changes something: the
// topic stops with this text in cqrs.position.error.
struct Halt : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The event and the replica's table do not fit, and what the subscription says about that
// (cqrs.subscription.schema) is to be done. Unhandled it is a Halt.
struct SchemaDiffers : Halt {
    SchemaDiffers(const std::string& what, std::string prefix_, std::string column_ = {})
        : Halt(what), prefix(std::move(prefix_)), column(std::move(column_)) {}
    std::string prefix;
    std::string column;  // that the replica lacks; "": a value does not fit its column
};

// The stream alone does not lead to the right rows: copy from the primary.
struct NeedCopy : std::runtime_error {
    // prefixes empty: the whole topic, whose position starts anew.
    NeedCopy(const std::string& what, std::vector<std::string> prefixes_, std::int64_t from_ = 0,
             std::int64_t to_ = 0, std::int64_t epoch_ = 0)
        : std::runtime_error(what),
          prefixes(std::move(prefixes_)),
          from(from_),
          to(to_),
          epoch(epoch_) {}
    std::vector<std::string> prefixes;
    std::int64_t from, to;  // sequences that are missing, for cqrs.incidents
    std::int64_t epoch;     // events of older epochs are of no use after the copy; 0: unknown
};

// A copy would not help: the primary of DATABASE_URL has no such epoch.
struct UnknownEpoch : std::runtime_error {
    UnknownEpoch(std::int64_t epoch_, std::int64_t known_)
        : std::runtime_error("epoch " + std::to_string(epoch_) +
                             " is not one of the primary's, whose relay is at epoch " +
                             std::to_string(known_)),
          epoch(epoch_) {}
    std::int64_t epoch;
};

// Start the session over from the position in the replica.
struct Restart : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace cqrs::apply
