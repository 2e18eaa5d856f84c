#include "postgres/failure.hpp"

#include <regex>

#include "open_files.hpp"

namespace cqrs::postgres {

std::string text(const char* s) {
    return s ? std::string(s) : std::string();
}

std::string one_line(const char* message) {
    std::string out = text(message);
    while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
    for (char& c : out)
        if (c == '\n' || c == '\t') c = ' ';
    return out;
}

Error stopping() {
    return {Remedy::retry, "57014", "interrupted: the program is stopping"};
}

void no_connection(PGconn* c, const std::string& what) {
    const std::string reason = one_line(c ? PQerrorMessage(c) : "out of memory");
    throw Error(Remedy::retry, "", what + reason, "", about_open_files(reason));
}

void no_login(PGconn* c) {
    static const std::regex code(":  ([0-9A-Z]{5}): "), place("\n[^\n]*\\.c:[0-9]+(?=\n|$)");
    std::string message = std::regex_replace(text(PQerrorMessage(c)), place, "");
    std::string sqlstate = PQconnectionNeedsPassword(c) != 0 ? "28P01" : "";
    // Several hosts: the last one decided.
    for (std::sregex_iterator m(message.begin(), message.end(), code), end; m != end; ++m)
        sqlstate = m->str(1);
    message = std::regex_replace(message, code, ":  ");
    throw Error(Remedy::retry, sqlstate, one_line(message.c_str()), "", about_open_files(message));
}

Error from_result(const PGresult* result, bool connected) {
    const auto field = [&](int code) { return PQresultErrorField(result, code); };
    const std::string sqlstate = text(field(PG_DIAG_SQLSTATE));
    const char* primary = field(PG_DIAG_MESSAGE_PRIMARY);
    return Error(connected ? classify(sqlstate) : Remedy::retry, sqlstate,
                 one_line(primary ? primary : PQresultErrorMessage(result)),
                 text(field(PG_DIAG_MESSAGE_DETAIL)), text(field(PG_DIAG_MESSAGE_HINT)))
        .where(field(PG_DIAG_TABLE_NAME), field(PG_DIAG_COLUMN_NAME),
               field(PG_DIAG_CONSTRAINT_NAME), field(PG_DIAG_CONTEXT));
}

}  // namespace cqrs::postgres
