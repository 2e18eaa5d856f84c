#include "relay/stream.hpp"

#include <fmt/format.h>
#include <poll.h>

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

// Asks the server to end what it does: it would not notice a closed socket while it waits.
void cancel(PGconn* c) {
    struct Free {
        void operator()(PGcancel* p) const noexcept { PQfreeCancel(p); }
    };
    const std::unique_ptr<PGcancel, Free> request(PQgetCancel(c));
    char why[256];
    if (request) PQcancel(request.get(), why, sizeof why);
}

}  // namespace

Stream::Stream(const std::string& conninfo)
    : connection_(postgres::Connection::open(conninfo, "cqrs relay", true)) {}

void Stream::fail(const PGresult* result) {
    throw_error(connection_.raw(), result);
}

bool Stream::create_slot(const std::string& slot, const Stop& stop,
                         const std::function<void()>& on_wait) {
    PGconn* c = connection_.raw();
    const std::string command = "CREATE_REPLICATION_SLOT " + postgres::quote_identifier(slot) +
                                " LOGICAL pg_cqrs (SNAPSHOT 'nothing')";
    if (!PQsendQuery(c, command.c_str())) fail(nullptr);
    auto next_word = Clock::now() + 5s;
    while (PQisBusy(c)) {
        pollfd fds[] = {{PQsocket(c), POLLIN, 0}, {stop.fd(), POLLIN, 0}};
        poll(fds, 2, 1000);
        if (stop.requested()) {
            cancel(c);
            return false;
        }
        if (fds[0].revents && !PQconsumeInput(c)) fail(nullptr);
        if (Clock::now() < next_word) continue;
        on_wait();
        next_word = Clock::now() + 5s;
    }
    std::optional<Error> error;
    while (PGresult* raw = PQgetResult(c)) {
        const postgres::Result result(raw);
        if (error || PQresultStatus(raw) == PGRES_TUPLES_OK) continue;
        try {
            fail(raw);
        } catch (const Error& e) {
            error = e;
        }
    }
    if (error) throw *error;
    return true;
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
