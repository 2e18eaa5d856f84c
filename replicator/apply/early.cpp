// Session: the rows of a transaction that is being spooled are written while it is still on its
// way, inside a transaction of the replica that ends when its end is here. The spool goes on over a
// connection of its own, so whatever breaks, what was acknowledged is there: then the rows come out
// of the spool, as they would have without this.
#include <spdlog/spdlog.h>

#include "apply/notify.hpp"
#include "apply/replica.hpp"
#include "apply/session.hpp"

namespace cqrs::apply {

using postgres::Error;
using postgres::Remedy;

// From the first message of the spool on, and only plain rows.
bool Session::may_write_early() {
    if (spooling_ || fence_ || !parked_.empty() || !handlers_.empty()) return false;
    if (spool_connection_) return true;
    try {
        spool_connection_.emplace(
            open_replica(context_.settings.replica_database_url, topic_ + " spool"));
        spool_connection_->heed(control_.stop);
    } catch (const Error& e) {
        if (control_.stop.requested()) throw;
        spdlog::debug("apply: {}: {}", topic_, e.what());  // no connection to spare
        spool_connection_.reset();
    }
    return spool_connection_.has_value();
}

// What has just been spooled.
void Session::write_early() {
    try {
        write_early_messages();
        return;
    } catch (const TryNext& e) {
        spdlog::debug("apply: {}: {}", topic_, e.what());
    } catch (const WriteError& e) {
        spdlog::debug("apply: {}: {}", topic_, e.what());
    } catch (const Refused& e) {
        spdlog::debug("apply: {}: {}", topic_, e.what());
    } catch (const Halt& e) {
        spdlog::debug("apply: {}: {}", topic_, e.what());
    } catch (const NeedCopy& e) {
        spdlog::debug("apply: {}: {}", topic_, e.what());
    } catch (const Error& e) {
        if (e.remedy() != Remedy::stop) throw;
        spdlog::debug("apply: {}: {}", topic_, e.what());
    }
    abandon_early();
}

void Session::write_early_messages() {
    if (!early_) {
        prepare_spool(Writer::Mode::set_wise);
        replica_->exec("BEGIN");
        early_ = Early{};
        early_->next = *position_.sequence + 1;
        early_->lsn = spool_lsn_;
    }
    std::vector<const Event*> events;
    const auto write = [&] {
        writer_->write(events, Writer::Mode::set_wise);
        notify_events(*replica_, events);
        early_->count += events.size();
        events.clear();
    };
    for (const auto& m : messages_) {
        // It holds the end, or more than this transaction: apply_spool() knows how to part them,
        // and from there on leaves nothing out.
        if (!m->head.more || m->head.lsn != early_->lsn || m->head.sequence > early_->next) break;
        if (m->events.empty()) decoder_->decode(*m, early_->next);
        for (const Event& e : m->events) {
            if (e.sequence < early_->next) continue;
            notice_orders(e);
            events.push_back(&e);
        }
        early_->next = m->head.last() + 1;
        early_->after = m->head.sequence;
        if (events.size() >= context_.settings.apply_batch) write();
    }
    write();
    early_->at = std::chrono::steady_clock::now();
}

void Session::abandon_early() {
    if (replica_->in_transaction()) replica_->exec("ROLLBACK");
    writer_->end_transaction();
    early_.reset();
}

}  // namespace cqrs::apply
