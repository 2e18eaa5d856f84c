#include "relay/stream.hpp"

#include <fmt/format.h>

#include <array>

#include "relay/libpq_error.hpp"

namespace cqrs::relay {

namespace {

using namespace std::chrono_literals;
using postgres::Error;
using postgres::Remedy;

std::uint64_t get64(const char* p) {
    std::uint64_t v = 0;
    for (int i = 0; i < 8; ++i) v = v << 8 | static_cast<unsigned char>(p[i]);
    return v;
}
void put64(char* p, std::uint64_t v) {
    for (int i = 7; i >= 0; --i, v >>= 8) p[i] = static_cast<char>(v & 0xff);
}

// Microseconds since 2000, as the protocol wants them.
std::uint64_t postgres_now() {
    constexpr std::int64_t epoch_2000 = 946'684'800'000'000;
    const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::system_clock::now().time_since_epoch());
    return static_cast<std::uint64_t>(now.count() - epoch_2000);
}

}  // namespace

Stream::Stream(postgres::Connection walsender, const Stop& stop)
    : connection_(std::move(walsender)) {
    connection_.heed(stop);
}

void Stream::fail(const PGresult* result) {
    throw_error(connection_.raw(), result);
}

bool Stream::create_slot(const std::string& slot, const Stop& stop,
                         const std::function<void()>& on_wait) {
    return connection_
        .exec_interruptible("CREATE_REPLICATION_SLOT " + postgres::quote_identifier(slot) +
                                " LOGICAL pg_cqrs (SNAPSHOT 'nothing')",
                            stop, on_wait)
        .has_value();
}

void Stream::start(const std::string& slot, Lsn lsn, const std::string& options) {
    PGconn* c = connection_.raw();
    const postgres::Result result = connection_.exec(
        fmt::format("START_REPLICATION SLOT {} LOGICAL {} {}", postgres::quote_identifier(slot),
                    postgres::format_lsn(lsn), options));
    if (PQresultStatus(result.raw()) != PGRES_COPY_BOTH) fail(result.raw());
    PQsetnonblocking(c, 1);
}

std::optional<Stream::Item> Stream::next() {
    PGconn* c = connection_.raw();
    char* raw = nullptr;
    int length = PQgetCopyData(c, &raw, 1);
    if (length == 0) {
        if (!PQconsumeInput(c)) fail(nullptr);
        length = PQgetCopyData(c, &raw, 1);
    }
    if (length == 0) return std::nullopt;
    row_.reset(raw);
    if (length < 0) {
        const postgres::Result result(PQgetResult(c));
        fail(result.raw());
    }
    Item item;
    if (length > 25 && raw[0] == 'w') {
        item.frame = {raw + 25, static_cast<std::size_t>(length) - 25};
    } else if (length >= 18 && raw[0] == 'k') {
        item.wal_end = get64(raw + 1);
        item.reply_requested = raw[17] != 0;
    } else {
        throw Error(Remedy::retry, "08P01", "the walsender sent something unknown");
    }
    return item;
}

void Stream::send_status(Lsn lsn) {
    std::array<char, 34> message{};
    message[0] = 'r';
    put64(&message[1], lsn);   // written
    put64(&message[9], lsn);   // flushed: what the slot may forget
    put64(&message[17], lsn);  // applied
    put64(&message[25], postgres_now());
    if (PQputCopyData(connection_.raw(), message.data(), message.size()) < 0) fail(nullptr);
}

bool Stream::flush() {
    const int left = PQflush(connection_.raw());
    if (left < 0) fail(nullptr);
    return left > 0;
}

}  // namespace cqrs::relay
