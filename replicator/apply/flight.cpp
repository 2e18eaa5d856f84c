#include "apply/flight.hpp"

#include <spdlog/spdlog.h>

#include <set>

#include "apply/notify.hpp"

namespace cqrs::apply {

namespace {

constexpr auto mode = Writer::Mode::set_wise;

// Until its transaction ends, wait_for() the same number waits: in the replica, so that two flights
// that wait for each other are a deadlock that Postgres notices.
std::string lock_sql(const char* function, const std::string& topic, std::uint32_t number) {
    return std::string("SELECT pg_catalog.") + function +
           "(pg_catalog.hashtext('pg_cqrs flight'), pg_catalog.hashtext(" +
           postgres::quote_literal(topic + " " + std::to_string(number)) + "))";
}

void hold(const Course& c) {
    c.connection.exec(lock_sql("pg_advisory_xact_lock", c.topic, c.number));
}

void wait_for(const Course& c, std::uint32_t number) {
    c.connection.exec(lock_sql("pg_advisory_xact_lock_shared", c.topic, number));
}

std::set<const Table*> tables_of(std::span<const Event* const> events) {
    std::set<const Table*> tables;
    const Table* last = nullptr;
    for (const Event* e : events)
        if (e->table && e->table != last) tables.insert(last = e->table);
    return tables;
}

// Both in order.
std::vector<const Event*> without(const std::vector<const Event*>& events,
                                  const std::vector<const Event*>& bound) {
    std::vector<const Event*> free;
    free.reserve(events.size() - bound.size());
    auto next = bound.begin();
    for (const Event* e : events)
        if (next != bound.end() && *next == e)
            ++next;
        else
            free.push_back(e);
    return free;
}

void must(bool advanced) {
    if (!advanced) throw Restart("the position, the handlers or a fence were changed");
}

void write_alone(const Course& c, std::promise<void>& begun) {
    must(begin_advance(c.connection, c.topic, c.from, c.to, false, c.handlers, c.lazily));
    hold(c);
    begun.set_value();
    c.writer.write(c.events, mode);
}

// The position's row comes last: it is the flight's before until that one has ended.
void write_beside(const Course& c, std::promise<void>& begun) {
    // Nothing is locked yet. Once both have begun, whoever waits for the other does so in the
    // replica, which notices when both do.
    c.before->begun.wait();
    begin(c.connection, c.lazily);
    hold(c);
    begun.set_value();
    if (c.bound.empty())
        c.writer.write(c.events, mode);
    else
        c.writer.write(without(c.events, c.bound), mode);
    wait_for(c, c.before->number);
    c.before->end.get();
    if (!c.bound.empty()) c.writer.write(c.bound, mode);
    // What was written holds a lock: nothing of this changes any more.
    for (const Table* table : tables_of(c.events))
        if (!rows_are_independent(c.connection, *table))
            throw Restart(table->name + " has another unique index, trigger or rule now");
    must(advance(c.connection, c.topic, c.from, c.to, false, c.handlers));
}

// The flight behind waits in the replica until this one's transaction is over.
struct RollBack {
    postgres::Connection& connection;
    ~RollBack() {
        try {
            if (connection.in_transaction()) connection.exec("ROLLBACK");
        } catch (const postgres::Error& e) {
            spdlog::debug("apply: {}",
                          e.what());  // the connection is lost, and with it all it held
            connection.close();
        }
    }
};

}  // namespace

Boundary Flight::to() const {
    const Event& last = *events.back();
    return {last.sequence, last.lsn, std::string(last.time)};
}

postgres::WalEnd fly(const Course& c, std::promise<void> begun) {
    const RollBack unless_committed{c.connection};
    c.writer.prepare(c.events, mode);
    if (c.before)
        write_beside(c, begun);
    else
        write_alone(c, begun);
    notify_events(c.connection, c.events);
    return c.connection.commit_and_look();
}

}  // namespace cqrs::apply
