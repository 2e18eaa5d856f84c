#include "relay/statements.hpp"

#include "relay/libpq_error.hpp"

namespace cqrs::relay {

void Statements::run(std::string sql, std::vector<std::string> params, Done done) {
    queue_.push_back({std::move(sql), std::move(params), std::move(done)});
    if (queue_.size() == 1) send();
}

void Statements::send() {
    const Statement& s = queue_.front();
    std::vector<const char*> values;
    for (const std::string& p : s.params) values.push_back(p.c_str());
    since_ = Clock::now();
    if (!PQsendQueryParams(connection_.raw(), s.sql.c_str(), static_cast<int>(values.size()),
                           nullptr, values.data(), nullptr, nullptr, 0))
        throw_error(connection_.raw(), nullptr);
}

void Statements::progress() {
    PGconn* c = connection_.raw();
    if (!PQconsumeInput(c)) throw_error(c, nullptr);
    while (!queue_.empty() && !PQisBusy(c)) {
        PGresult* raw = PQgetResult(c);
        if (!raw) {  // the statement's end
            queue_.pop_front();
            if (!queue_.empty()) send();
            continue;
        }
        const postgres::Result result(raw);
        const auto status = PQresultStatus(raw);
        if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) throw_error(c, raw);
        if (queue_.front().done) queue_.front().done(result);
    }
    if (PQstatus(c) != CONNECTION_OK) throw_error(c, nullptr);
}

}  // namespace cqrs::relay
