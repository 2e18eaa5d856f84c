// Session: a large batch is written by a thread of its own (flight.hpp), so that the next one is
// read and decoded meanwhile; and while the topic is behind, the next one is written at the same
// time, over another connection (lane.hpp). Only the usual way of writing: whatever the server
// refuses is done over, in the ordinary way, by apply_complete().
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apply/session.hpp"

namespace cqrs::apply {

using postgres::Error;
using postgres::Remedy;

namespace {

// Below, a thread is not worth it.
constexpr std::size_t large = 1024;

struct Signal {
    Wakeup& wakeup;
    ~Signal() { wakeup.signal(); }
};

}  // namespace

// Something is complete, and as much as a batch should be.
bool Session::batch_is_due() const {
    const std::size_t next = complete_ - written_;
    return next > 0 && (next >= context_.settings.apply_batch ||
                        bytes_ > flying_bytes() + context_.settings.memory / 4);
}

std::size_t Session::flying_bytes() const {
    std::size_t bytes = 0;
    for (const Flight& f : flights_) bytes += f.bytes;
    return bytes;
}

// What is complete and not on its way.
void Session::write_complete() {
    if (flights_.size() == context_.settings.apply_jobs) end_flight();
    if (begin_flight()) return;
    end_flights();
    if (!begin_flight()) apply_complete();
}

// If it is a large batch of nothing but rows, and may be written beside those on their way.
bool Session::begin_flight() {
    if (complete_ - written_ < large || fence_ || !parked_.empty() || !handlers_.empty())
        return false;
    Flight flight;
    flight.events.assign(pending_.begin() + static_cast<long>(written_),
                         pending_.begin() + static_cast<long>(complete_));
    flight.independent = flight.only_creates = true;
    for (const Event* e : flight.events) {
        if (e->verb == Verb::resync || e->verb == Verb::stop) return false;
        if (!e->table) continue;
        flight.only_creates &= e->verb == Verb::create;
        flight.independent &=
            e->table->independent && e->verb != Verb::truncate && !changes_key(*e);
    }
    if (!flights_.empty()) {
        if (!flight.independent || !flights_.back().independent) return false;
        const auto lane = free_lane();
        if (!lane) return false;
        flight.lane = *lane;
    }
    launch(std::move(flight));
    return true;
}

// Opened when it is first wanted. None: the replica has none to spare.
std::optional<std::size_t> Session::free_lane() {
    std::size_t lane = 0;
    while (std::any_of(flights_.begin(), flights_.end(),
                       [&](const Flight& f) { return f.lane == lane; }))
        ++lane;
    if (lane <= lanes_.size()) return lane;
    const auto now = std::chrono::steady_clock::now();
    if (now < no_lane_until_) return std::nullopt;
    try {
        lanes_.push_back(
            Lane::open(context_.settings.replica_database_url, topic_, lane, control_.stop));
    } catch (const Error& e) {
        if (control_.stop.requested()) throw;
        if (no_lane_ != e.what())
            spdlog::info("apply: {}: batches are written one after the other: {}", topic_,
                         e.what());
        no_lane_ = e.what();
        no_lane_until_ = now + std::chrono::seconds(10);
        return std::nullopt;
    }
    no_lane_.clear();
    spdlog::debug("apply: {}: writes over {} connections", topic_, lanes_.size() + 1);
    control_.add_postgres(lanes_.back()->connection());
    return lane;
}

// Those of its events whose rows flights before it touch.
std::vector<const Event*> Session::bound_events(const Flight& flight) {
    for (Flight& before : flights_)
        // Where both only make rows, these are others.
        if (!before.keys && !(before.only_creates && flight.only_creates))
            before.keys.emplace(before.events);
    std::vector<const Event*> bound;
    for (const Event* e : flight.events)
        if (std::any_of(flights_.begin(), flights_.end(), [&](const Flight& before) {
                return before.keys && before.keys->touches(*e);
            }))
            bound.push_back(e);
    return bound;
}

void Session::launch(Flight flight) {
    flight.number = ++flights_begun_;
    flight.lazily = lazy();
    flight.bytes = bytes_ - std::min(bytes_, flying_bytes());
    Course course{connection_of(flight.lane),
                  writer_of(flight.lane),
                  topic_,
                  handlers_.version(),
                  flight.number,
                  position_,
                  flight.to(),
                  flight.lazily,
                  flight.events,
                  {},
                  {}};
    if (!flights_.empty()) {
        const Flight& last = flights_.back();
        course.from.sequence = last.to().sequence;
        course.before = {last.number, last.begun, last.end};
        course.bound = bound_events(flight);
        flight.beside = true;
    }
    context_.metrics
        .counter("cqrs_apply_batches_total",
                 "Large batches begun; beside: while the one before was being written",
                 {{"topic", topic_}, {"beside", flight.beside ? "true" : "false"}})
        .Increment();
    std::promise<void> begun;
    flight.begun = begun.get_future().share();
    flight.end = std::async(std::launch::async, [landed = flight.landed, course = std::move(course),
                                                 begun = std::move(begun)]() mutable {
                     const Signal at_the_end{*landed};
                     // Goes with the thread's work, not with the future: the flight
                     // before is part of it.
                     const Course mine = std::move(course);
                     return fly(mine, std::move(begun));
                 }).share();
    flights_.push_back(std::move(flight));
    written_ = complete_;
}

// Others want their connections, and the server's few origins.
void Session::close_idle_lanes() {
    constexpr auto patience = std::chrono::seconds(10);
    if (lanes_.empty() || std::chrono::steady_clock::now() - lane_used_ < patience) return;
    lanes_.clear();
    control_.forget_postgres();
    control_.add_postgres(*replica_);
}

postgres::Connection& Session::connection_of(std::size_t lane) {
    return lane == 0 ? *replica_ : lanes_[lane - 1]->connection();
}

Writer& Session::writer_of(std::size_t lane) {
    return lane == 0 ? *writer_ : lanes_[lane - 1]->writer();
}

bool Session::flight_over() const {
    return !flights_.empty() && flights_.front().over();
}

// Waits for all. Before anything but reading and decoding is done.
void Session::end_flights() {
    while (!flights_.empty()) end_flight();
}

// Waits for the first.
void Session::end_flight() {
    const Flight& first = flights_.front();
    if (first.lane > 0) lane_used_ = std::chrono::steady_clock::now();
    try {
        const postgres::WalEnd end = first.end.get();
        if (first.lazily)
            flushes_.committed(first.to().sequence, end);
        else
            flushes_.all_flushed();
        flush_looks_ = 0;
        count_conflicts(writer_of(first.lane).end_transaction());
        const std::size_t count = first.events.size();
        flights_.pop_front();
        written_ -= count;
        return done(std::span(pending_).first(count));
    } catch (const TryNext& e) {
        spdlog::debug("apply: {}: {}", topic_, e.what());
    } catch (const WriteError&) {
    } catch (const Error& e) {
        const bool entangled = e.sqlstate() == "40P01" && (first.beside || flights_.size() > 1);
        if (e.remedy() != Remedy::stop && !entangled) throw;
        spdlog::debug("apply: {}: {}", topic_, e.what());
    }
    give_up_flights();
    apply_orders_and_rows();
}

// The first has failed, and with it those behind it.
void Session::give_up_flights() {
    constexpr auto patience = std::chrono::milliseconds(500);
    for (const Flight& f : flights_) {
        // Somebody else may hold a row that it wants.
        while (f.end.wait_for(patience) != std::future_status::ready)
            postgres::Canceller(connection_of(f.lane)).cancel();
    }
    for (const Flight& f : flights_) writer_of(f.lane).end_transaction();
    flights_.clear();
    written_ = 0;
}

// However the session ends: nothing else uses what the threads use.
Session::FlightsEnd::~FlightsEnd() {
    for (const Flight& f : session.flights_) f.end.wait();
    session.flights_.clear();
    session.lanes_.clear();
    session.written_ = 0;
}

}  // namespace cqrs::apply
