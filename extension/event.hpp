// One event as text: JSON escaping, LSN and time as strings, the CloudEvents envelope, and what a
// prefix and a type may look like. The only place where JSON is written.
//
// Pure C++: includes no Postgres header, shared by the extension and the replicator.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cqrs {

// Appends s as a JSON string with its quotes. False if s is not valid UTF-8; `out` then holds a
// part of it and the caller cuts it off.
[[nodiscard]] bool append_json_string(std::string& out, std::string_view s);
bool valid_utf8(std::string_view s);

// How deep brackets nest in a JSON text (strings skipped, syntax not checked); stops counting
// beyond `limit`, so that it costs little on hostile input.
int json_depth(std::string_view json, int limit);
constexpr int kMaxJsonDepth = 512;

void append_integer(std::string& out, std::int64_t value);
void append_lsn(std::string& out, std::uint64_t lsn);  // 0/16B3748
// RFC 3339, UTC, six digits of a second: 2026-11-23T20:45:33.661507Z. Years are clamped to 0..9999.
void append_time(std::string& out, std::int64_t unix_us);
// RFC 3986: everything but unreserved characters as %XX.
void append_percent_encoded(std::string& out, std::string_view s);

// prefix: ^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$, at most 50 bytes.
constexpr std::size_t kMaxPrefix = 50, kMaxType = 63;
bool valid_prefix(std::string_view prefix);
// A type has the form of a prefix, of at least two words, at most 63 bytes, first word not
// reserved.
bool valid_type(std::string_view type);
bool reserved_topic(std::string_view topic);  // cqrs, heartbeat
std::string_view topic_of(std::string_view prefix_or_type);
// The words that end the types of table events: only a published table may use them.
bool table_verb(std::string_view word);
// parking.create -> {parking, create}; the prefix is empty if there is no dot.
struct TypeParts {
    std::string_view prefix, verb;
};
TypeParts split_type(std::string_view type);

// A context attribute is UTF-8 of at most 255 bytes without control characters; a traceparent has
// W3C's form (00-<32 hex>-<16 hex>-<2 hex>, not all zero).
bool valid_context(std::string_view value);
bool valid_traceparent(std::string_view value);

// The envelope of the events of one transaction after another. What repeats is made once: a row
// costs four appends.
class Envelope {
  public:
    explicit Envelope(std::string_view source);

    void begin_transaction(std::uint64_t end_lsn, std::int64_t commit_time_us);
    // While the transaction runs there is no LSN yet: ids are <name>.<n>, and times those of the
    // call.
    void begin_transaction(std::string_view name, std::int64_t time_us);
    // Empty values are left out. Holds for the events that follow, until begin_transaction().
    void set_context(std::string_view correlationid, std::string_view causationid,
                     std::string_view traceparent);

    // {"specversion":...,"time":"..." and the context; open: data and the closing brace follow.
    // Counts the transaction's events.
    void open(std::string& out, std::string_view type);
    void undo() { count_--; }  // the event that was opened last is thrown away

    std::uint64_t lsn() const { return lsn_; }
    std::int64_t time_us() const { return time_us_; }

  private:
    void begin(std::int64_t time_us);

    std::uint64_t lsn_ = 0;
    std::int64_t time_us_ = 0;
    std::uint64_t count_ = 0;
    std::string head_;    // {"specversion":"1.0","id":"0/16B3748.
    std::string source_;  // ","source":"/db","type":"
    std::string time_;    // ","time":"..."
    std::string context_;
};

}  // namespace cqrs
