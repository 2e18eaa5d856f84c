// Session: `verify` puts up a fence, a point of the primary's WAL that the topic does not pass
// until it is taken down (cqrs.fence). begin_advance() refuses to pass it; what is here is about
// stopping exactly there and saying so.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apply/session.hpp"

namespace cqrs::apply {

void Session::load_fence() {
    fence_.reset();
    const auto row = replica_->query(
        "SELECT lsn FROM cqrs.fence WHERE topic = $1 AND expires_at > clock_timestamp()", {topic_});
    if (row.rows()) fence_ = postgres::parse_lsn(row.get(0, 0));
}

// Nothing is on its way that ends at or before the fence: what comes next or the heartbeat says so.
bool Session::at_fence() const {
    if (!fence_ || spooling_ || !position_.sequence) return false;
    if (*fence_ == 0) return true;
    // Called when nothing is complete: what waits is of one transaction.
    if (!pending_.empty()) return pending_.front()->lsn > *fence_;
    const auto heartbeat = context_.heartbeats.last();
    return heartbeat && heartbeat->lsn >= *fence_ && position_.epoch == heartbeat->epoch &&
           heartbeat->topic(topic_).sequence == *position_.sequence;
}

// Leaves of the complete transactions those that end at or before the fence; true if it cut any.
bool Session::cut_at_fence() {
    if (!fence_ || complete_ == 0 || pending_[complete_ - 1]->lsn <= *fence_) return false;
    const auto end =
        std::partition_point(pending_.begin(), pending_.begin() + static_cast<long>(complete_),
                             [&](const Event* e) { return e->lsn <= *fence_; });
    complete_ = static_cast<std::size_t>(end - pending_.begin());
    return true;
}

// Until the fence is changed (the supervisor wakes the session), taken down or has expired.
void Session::hold() {
    replica_->query(
        "UPDATE cqrs.fence SET reached = true WHERE topic = $1 AND lsn = $2 AND NOT reached",
        {topic_, postgres::format_lsn(*fence_)});
    spdlog::debug("apply: {}: held at {}", topic_, postgres::format_lsn(*fence_));
    while (!control_.stop.requested() && !control_.woken()) {
        if (replica_
                ->query("SELECT FROM cqrs.fence WHERE topic = $1 AND lsn = $2 AND expires_at > "
                        "clock_timestamp()",
                        {topic_, postgres::format_lsn(*fence_)})
                .rows() == 0)
            throw Restart("the fence is gone");
        control_.wait(std::chrono::milliseconds(500));
    }
}

}  // namespace cqrs::apply
