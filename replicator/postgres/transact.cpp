// Connection: a whole transaction as one round trip, over libpq's pipeline.
#include <algorithm>
#include <iterator>

#include "postgres/connection.hpp"
#include "postgres/failure.hpp"

namespace cqrs::postgres {

WalEnd Connection::transact(std::vector<Step> steps, bool lazily) {
    if (!can_transact_) {
        prepare("cqrs_begin", "BEGIN");
        prepare("cqrs_lazily", "SET LOCAL synchronous_commit = off");
        prepare("cqrs_commit", "COMMIT");
        prepare("cqrs_wal_end", wal_end_sql);
        can_transact_ = true;
    }
    std::vector<Step> all;
    all.reserve(steps.size() + 4);
    all.push_back({"cqrs_begin", {}});
    if (lazily) all.push_back({"cqrs_lazily", {}});
    std::move(steps.begin(), steps.end(), std::back_inserter(all));
    all.push_back({"cqrs_commit", {}});
    all.push_back({"cqrs_wal_end", {}});
    const std::vector<Result> results = pipeline(all);
    return wal_end_of(results.back());
}

// What each step gave. The first ERROR ends what the server does: the steps behind it are skipped,
// COMMIT among them.
std::vector<Result> Connection::pipeline(const std::vector<Step>& steps) {
    for (const Step& step : steps)
        for (const auto& p : step.params)
            if (p && p->find('\0') != std::string::npos)
                throw Error(Remedy::stop, "22021", "a parameter holds a NUL byte");
    PGconn* c = connection_.get();
    bool well = PQenterPipelineMode(c) == 1;
    std::vector<const char*> values;
    for (auto step = steps.begin(); well && step != steps.end(); ++step) {
        values.clear();
        for (const auto& p : step->params) values.push_back(p ? p->c_str() : nullptr);
        well = PQsendQueryPrepared(c, step->name.c_str(), static_cast<int>(values.size()),
                                   values.data(), nullptr, nullptr, 0) == 1;
    }
    well = well && PQpipelineSync(c) == 1;
    // All are read before one is looked at: the connection stays usable after an ERROR.
    std::vector<Result> results;
    for (std::size_t ended = 0; well && ok() && ended <= steps.size();) {
        Result result(PQgetResult(c));
        if (PQresultStatus(result.raw()) == PGRES_PIPELINE_SYNC) break;
        if (result.raw())
            results.push_back(std::move(result));
        else
            ++ended;  // a step has no more
    }
    well = well && ok() && PQexitPipelineMode(c) == 1;
    try {
        for (Result& each : results) each = check(std::move(each));
        if (!well || results.size() != steps.size()) no_connection(c, "");
    } catch (const Error& e) {
        commit_failed(e);
    }
    return results;
}

}  // namespace cqrs::postgres
