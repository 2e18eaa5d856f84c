// Session: a small batch is one round trip to the replica. Its COMMIT is sent before anything is
// known of its statements, so each is one that raises an ERROR unless it finds what the stream
// says. Whatever the server refuses is done over, in the ordinary way, by write_ladder().
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

#include "apply/notify.hpp"
#include "apply/session.hpp"

namespace cqrs::apply {

using postgres::Error;
using postgres::Remedy;

// False: nothing was written.
bool Session::write_at_once(std::span<const Event* const> events, const Boundary& to) {
    if (!parked_.empty() || !handlers_.empty()) return false;
    try {
        auto rows = writer_->steps(events);
        if (!rows) return false;
        std::vector<postgres::Step> steps{advance_surely(topic_, position_, to)};
        std::move(rows->begin(), rows->end(), std::back_inserter(steps));
        for (auto& step : notify_steps(events)) steps.push_back(std::move(step));
        const bool lazily = lazy();
        const postgres::WalEnd end = replica_->transact(std::move(steps), lazily);
        if (lazily)
            flushes_.committed(to.sequence, end);
        else
            flushes_.all_flushed();
        flush_looks_ = 0;
        return true;
    } catch (const Error& e) {
        if (e.remedy() != Remedy::stop) throw;
        spdlog::debug("apply: {}: {}", topic_, e.what());
    }
    if (replica_->in_transaction()) replica_->exec("ROLLBACK");
    return false;
}

}  // namespace cqrs::apply
