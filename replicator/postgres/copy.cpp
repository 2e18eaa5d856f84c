// Connection: COPY, in both directions.
#include "postgres/connection.hpp"
#include "postgres/failure.hpp"

namespace cqrs::postgres {

void Connection::copy_begin(const std::string& sql) {
    const Result result = exec(sql);
    if (PQresultStatus(result.raw()) != PGRES_COPY_IN)
        throw Error(Remedy::stop, "08P01", "the server did not begin a COPY FROM STDIN");
}

void Connection::copy_put(std::string_view data) {
    // An ERROR of the server shows at copy_end(); here only a broken connection does.
    constexpr std::size_t chunk = std::size_t{1} << 20;  // PQputCopyData takes an int
    while (!data.empty()) {
        const std::string_view part = data.substr(0, chunk);
        if (PQputCopyData(connection_.get(), part.data(), static_cast<int>(part.size())) != 1)
            no_connection(connection_.get(), "COPY: ");
        data.remove_prefix(part.size());
    }
}

std::int64_t Connection::copy_end() {
    if (PQputCopyEnd(connection_.get(), nullptr) != 1) no_connection(connection_.get(), "COPY: ");
    PGresult* first = PQgetResult(connection_.get());
    // Drained before it is checked: the connection stays usable after an ERROR.
    while (PGresult* rest = PQgetResult(connection_.get())) PQclear(rest);
    return check(first).affected();
}

void Connection::copy_abort(const std::string& reason) {
    if (PQputCopyEnd(connection_.get(), reason.c_str()) != 1) return;
    while (PGresult* rest = PQgetResult(connection_.get())) PQclear(rest);
}

void Connection::copy_out_begin(const std::string& sql) {
    const Result result = exec(sql);
    if (PQresultStatus(result.raw()) != PGRES_COPY_OUT)
        throw Error(Remedy::stop, "08P01", "the server did not begin a COPY TO STDOUT");
}

bool Connection::copy_out_next(std::string_view& row) {
    char* data = nullptr;
    const int size = PQgetCopyData(connection_.get(), &data, 0);
    copy_row_.reset(data);
    if (size > 0) {
        row = {data, static_cast<std::size_t>(size)};
        return true;
    }
    if (size < -1) no_connection(connection_.get(), "COPY: ");
    PGresult* first = PQgetResult(connection_.get());
    while (PGresult* rest = PQgetResult(connection_.get())) PQclear(rest);
    check(first);
    return false;
}

}  // namespace cqrs::postgres
