#include "apply/spool.hpp"

#include "broker/compression.hpp"

namespace cqrs::apply {

using postgres::Connection;

namespace {

// Bodies are JSON, which LZ4 makes four to five times smaller for less than writing it costs.
constexpr std::string_view lz4_magic("\x04\x22\x4d\x18", 4);

std::string to_hex(std::string_view bytes) {
    constexpr char digits[] = "0123456789abcdef";
    std::string out = "\\x";
    out.reserve(2 + bytes.size() * 2);
    for (const char c : bytes) {
        const auto b = static_cast<unsigned char>(c);
        out += digits[b >> 4];
        out += digits[b & 15];
    }
    return out;
}

// bytea_output = hex: "\x" and two digits a byte.
void from_hex(std::string_view hex, std::string& out) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    out.clear();
    out.reserve(hex.size() / 2 + 64);
    for (std::size_t i = 2; i + 1 < hex.size(); i += 2)
        out += static_cast<char>(digit(hex[i]) << 4 | digit(hex[i + 1]));
}

}  // namespace

void spool_message(Connection& connection, const std::string& topic, const Message& message) {
    connection.query(
        "INSERT INTO cqrs.spool (topic, sequence, count, lsn, more, body) "
        "VALUES ($1, $2, $3, $4, $5, $6) "
        // Sent again, cut differently: the longer one holds the shorter one's events.
        "ON CONFLICT (topic, sequence) DO UPDATE SET count = EXCLUDED.count, lsn = EXCLUDED.lsn, "
        "more = EXCLUDED.more, body = EXCLUDED.body",
        {topic, std::to_string(message.head.sequence), std::to_string(message.head.count),
         postgres::format_lsn(message.head.lsn), message.head.more ? "t" : "f",
         to_hex(broker::compress_lz4(message.body))});
}

std::optional<Spooled> last_spooled(Connection& connection, const std::string& topic) {
    const auto row = connection.query(
        "SELECT sequence, count, lsn, more FROM cqrs.spool WHERE topic = $1 "
        "ORDER BY sequence + count DESC LIMIT 1",
        {topic});
    if (row.rows() == 0) return std::nullopt;
    return Spooled{row.get_int(0, 0), row.get_int(0, 1), postgres::parse_lsn(row.get(0, 2)),
                   row.get_bool(0, 3)};
}

bool read_spooled(Connection& connection, const std::string& topic, std::int64_t after,
                  Message& message) {
    const auto row = connection.query(
        "SELECT sequence, count, lsn, more, body FROM cqrs.spool WHERE topic = $1 AND "
        "sequence > $2 ORDER BY sequence LIMIT 1",
        {topic, std::to_string(after)});
    if (row.rows() == 0) return false;
    message.arena.clear();
    message.events.clear();
    message.head.topic = topic;
    message.head.sequence = row.get_int(0, 0);
    message.head.count = row.get_int(0, 1);
    message.head.lsn = postgres::parse_lsn(row.get(0, 2));
    message.head.more = row.get_bool(0, 3);
    from_hex(row.get(0, 4), message.body);
    if (!message.body.starts_with(lz4_magic)) return true;
    try {
        message.body = broker::decoded_body(broker::lz4_encoding, std::move(message.body));
    } catch (const std::invalid_argument& e) {
        throw Refused(e.what());
    }
    return true;
}

void drop_spooled(Connection& connection, const std::string& topic, std::int64_t sequence) {
    connection.query("DELETE FROM cqrs.spool WHERE topic = $1 AND sequence + count - 1 <= $2",
                     {topic, std::to_string(sequence)});
}

}  // namespace cqrs::apply
