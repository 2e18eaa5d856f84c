// Session: a large batch is written by a thread of its own, so that the next one is read and
// decoded meanwhile. Only the usual way of writing: whatever the server refuses is done over, in
// the ordinary way, by apply_complete().
#include <spdlog/spdlog.h>

#include "apply/notify.hpp"
#include "apply/session.hpp"

namespace cqrs::apply {

using postgres::Error;
using postgres::Remedy;

namespace {
// Below, a thread is not worth it.
constexpr std::size_t large = 1024;
}  // namespace

// What is complete.
void Session::write_complete() {
    end_batch();
    if (!begin_batch()) apply_complete();
}

// If it is a large batch of nothing but rows.
bool Session::begin_batch() {
    if (complete_ < large || fence_ || !parked_.empty() || !handlers_.empty()) return false;
    std::vector<const Event*> events(pending_.begin(),
                                     pending_.begin() + static_cast<long>(complete_));
    for (const Event* e : events)
        if (e->verb == Verb::resync || e->verb == Verb::stop) return false;
    written_ = complete_;
    written_lazily_ = lazy();
    batch_wakeup_.drain();
    batch_ = std::async(std::launch::async, [this, events = std::move(events)] {
        struct Signal {
            Wakeup& wakeup;
            ~Signal() { wakeup.signal(); }
        } const at_the_end{batch_wakeup_};
        writer_->prepare(events, Writer::Mode::set_wise);
        const Event& last = *events.back();
        if (!begin_advance(*replica_, topic_, position_,
                           {last.sequence, last.lsn, std::string(last.time)}, false,
                           handlers_.version(), written_lazily_))
            throw Restart("the position, the handlers or a fence were changed");
        writer_->write(events, Writer::Mode::set_wise);
        notify_events(*replica_, events);
        return replica_->commit_and_look();
    });
    return true;
}

// However the session ends: nothing else uses what the thread uses.
Session::BatchEnd::~BatchEnd() {
    if (session.batch_.valid()) session.batch_.wait();
    session.batch_ = {};
    session.written_ = 0;
}

bool Session::batch_ready() const {
    return batch_.valid() && batch_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

// Waits for it. Before anything but reading and decoding is done.
void Session::end_batch() {
    if (!batch_.valid()) return;
    const std::size_t count = std::exchange(written_, 0);
    try {
        const postgres::WalEnd end = batch_.get();
        if (written_lazily_)
            flushes_.committed(pending_[count - 1]->sequence, end);
        else
            flushes_.all_flushed();
        flush_looks_ = 0;
        count_conflicts(writer_->end_transaction());
        return done(std::span(pending_).first(count));
    } catch (const TryNext& e) {
        spdlog::debug("apply: {}: {}", topic_, e.what());
    } catch (const WriteError&) {
    } catch (const Error& e) {
        if (e.remedy() != Remedy::stop) throw;
    }
    replica_->exec("ROLLBACK");
    writer_->end_transaction();
    apply_orders_and_rows();
}

}  // namespace cqrs::apply
