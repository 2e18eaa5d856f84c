#include "relay/libpq_error.hpp"

#include <algorithm>
#include <string>

namespace cqrs::relay {

void throw_error(PGconn* connection, const PGresult* result) {
    const auto field = [&](int code) {
        const char* text = result ? PQresultErrorField(result, code) : nullptr;
        return std::string(text ? text : "");
    };
    std::string message = field(PG_DIAG_MESSAGE_PRIMARY);
    if (message.empty()) message = PQerrorMessage(connection);
    if (message.empty()) message = "the primary ended the connection";
    message.resize(std::min(message.size(), message.find('\n')));  // the rest is a guess of libpq
    const std::string sqlstate = field(PG_DIAG_SQLSTATE);
    throw postgres::Error(postgres::classify(sqlstate), sqlstate, message,
                          field(PG_DIAG_MESSAGE_DETAIL), field(PG_DIAG_MESSAGE_HINT));
}

}  // namespace cqrs::relay
