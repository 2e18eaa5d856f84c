#include "apply/handlers.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "apply/writer.hpp"

namespace cqrs::apply {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

bool matches(std::string_view pattern, std::string_view type) {
    const auto word = [](std::string_view text) { return text.substr(0, text.find('.')); };
    const auto rest = [](std::string_view text) {
        const auto dot = text.find('.');
        return dot == std::string_view::npos ? std::string_view() : text.substr(dot + 1);
    };
    // Types have no empty words: empty is the end.
    if (pattern.empty()) return type.empty();
    if (word(pattern) == "#")
        return matches(rest(pattern), type) || (!type.empty() && matches(pattern, rest(type)));
    if (type.empty()) return false;
    return (word(pattern) == "*" || word(pattern) == word(type)) &&
           matches(rest(pattern), rest(type));
}

Verb row_verb(const Event& event) {
    return parse_verb(event.type.substr(std::min(event.prefix.size() + 1, event.type.size())));
}

namespace {

// "{a,b}": prefixes need no quotes.
std::vector<std::string> parse_array(std::string_view text) {
    std::vector<std::string> out;
    text = text.substr(1, text.size() - 2);
    while (!text.empty()) {
        const auto comma = std::min(text.find(','), text.size());
        out.emplace_back(text.substr(0, comma));
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return out;
}

constexpr std::size_t call_limit = 8 * 1024 * 1024;  // bytes of events a statement, about

}  // namespace

bool Registration::covers(const Event& event) const {
    return event.lsn <= snapshot_lsn && row_verb(event) != Verb::other &&
           std::find(prefixes.begin(), prefixes.end(), event.prefix) != prefixes.end();
}

void Handlers::load(Connection& connection, const std::string& topic, bool begun) {
    registrations_.clear();
    functions_.clear();
    by_type_.clear();
    sets_.clear();
    if (begun)
        connection.query(
            "INSERT INTO cqrs.handler_state (pattern, handler, state) SELECT pattern, handler, "
            "CASE WHEN backfill THEN 'pending' ELSE 'live' END FROM cqrs.handler WHERE topic = $1 "
            "ON CONFLICT DO NOTHING",
            {topic});
    version_ = connection.query(std::string("SELECT ") + handlers_version_sql, {topic}).get(0, 0);
    const auto rows = connection.query(
        "SELECT h.pattern, h.handler, coalesce(to_regprocedure(h.handler)::text, h.handler), "
        "h.backfill, coalesce(hs.state, "
        "CASE WHEN h.backfill THEN 'pending' ELSE 'live' END), coalesce(hs.prefixes, '{}'), "
        "coalesce(hs.snapshot_lsn, '0/0'), coalesce(hs.error, '') FROM cqrs.handler h "
        "LEFT JOIN cqrs.handler_state hs USING (pattern, handler) WHERE h.topic = $1 "
        "ORDER BY h.registered_at, h.pattern, h.handler",
        {topic});
    for (int i = 0; i < rows.rows(); ++i) {
        Registration r;
        r.pattern = rows.get(i, 0);
        r.backfill = rows.get_bool(i, 3);
        const std::string_view state = rows.get(i, 4);
        r.state = state == "live"      ? Registration::State::live
                  : state == "pending" ? Registration::State::pending
                                       : Registration::State::stopped;
        r.prefixes = parse_array(rows.get(i, 5));
        r.snapshot_lsn = postgres::parse_lsn(rows.get(i, 6));
        if (r.state == Registration::State::stopped)
            spdlog::warn("apply: {}: handler {} of \"{}\" is stopped: {}", topic, rows.get(i, 2),
                         r.pattern, rows.get(i, 7));
        add(std::move(r), {std::string(rows.get(i, 1)), std::string(rows.get(i, 2))});
    }
}

void Handlers::add(Registration registration, Function function) {
    const auto found = std::find(functions_.begin(), functions_.end(), function);
    registration.function = static_cast<std::size_t>(found - functions_.begin());
    if (found == functions_.end()) functions_.push_back(std::move(function));
    registrations_.push_back(std::move(registration));
}

bool Handlers::pending() const {
    return std::any_of(registrations_.begin(), registrations_.end(), [](const Registration& r) {
        return r.state == Registration::State::pending;
    });
}

const Handlers::Matches* Handlers::matching(std::string_view type) {
    if (registrations_.empty()) return nullptr;
    auto it = by_type_.find(std::string(type));
    if (it != by_type_.end()) return it->second;
    Matches wanted;
    for (std::uint32_t i = 0; i < registrations_.size(); ++i)
        if (registrations_[i].state == Registration::State::live &&
            matches(registrations_[i].pattern, type))
            wanted.push_back(i);
    if (by_type_.size() > 10000) by_type_.clear();  // made-up types must not fill the memory
    const Matches* matched = wanted.empty() ? nullptr : &*sets_.insert(std::move(wanted)).first;
    by_type_.emplace(type, matched);
    return matched;
}

bool Handlers::order(const Event& event) const {
    if (!event.handlers) return false;
    const Verb verb = row_verb(event);
    if (verb != Verb::resync && verb != Verb::stop) return false;
    return std::any_of(event.handlers->begin(), event.handlers->end(), [&](std::uint32_t i) {
        const Registration& r = registrations_[i];
        return r.backfill && !r.covers(event) &&
               std::find(r.prefixes.begin(), r.prefixes.end(), event.prefix) != r.prefixes.end();
    });
}

bool Handlers::wants(std::size_t function, const Event& event) const {
    return event.handlers &&
           std::any_of(event.handlers->begin(), event.handlers->end(), [&](std::uint32_t i) {
               return registrations_[i].function == function && !registrations_[i].covers(event);
           });
}

void Handlers::call(Connection& connection, const Function& function,
                    const std::string& json_array) {
    connection.query("SELECT cqrs.call_handler($1::regprocedure, $2::jsonb)",
                     {function.signature, json_array});
}

void Handlers::call(Connection& connection, std::span<const Event* const> events,
                    bool one_by_one) const {
    if (one_by_one) {
        for (const Event* e : events)
            for (std::size_t f = 0; f < functions_.size(); ++f) {
                if (!wants(f, *e)) continue;
                try {
                    call(connection, functions_[f], "[" + std::string(e->json) + "]");
                } catch (const Error& error) {
                    if (error.remedy() != Remedy::stop) throw;
                    throw WriteError(*e, error, functions_[f].name);
                }
            }
        return;
    }
    std::string array;
    for (std::size_t f = 0; f < functions_.size(); ++f) {
        const auto flush = [&] {
            if (array.empty()) return;
            array += ']';
            call(connection, functions_[f], array);
            array.clear();
        };
        for (const Event* e : events) {
            if (!wants(f, *e)) continue;
            array += array.empty() ? '[' : ',';
            array += e->json;
            if (array.size() > call_limit) flush();
        }
        flush();
    }
}

void begin_handlers(Connection& connection, const std::string& topic) {
    connection.query(
        "INSERT INTO cqrs.handler_state (pattern, handler, state) SELECT pattern, handler, 'live' "
        "FROM cqrs.handler WHERE topic = $1 ON CONFLICT (pattern, handler) DO UPDATE SET state = "
        "'live', error = NULL, prefixes = '{}', snapshot_lsn = NULL, changed_at = "
        "clock_timestamp()",
        {topic});
}

void handlers_missed(Connection& connection, const std::string& topic, const std::string& why) {
    connection.query(
        "UPDATE cqrs.handler_state hs SET state = CASE WHEN h.backfill THEN 'pending' ELSE "
        "'stopped' END, error = CASE WHEN NOT h.backfill THEN $2::text || '. It may have missed "
        "events and is not called any more. To call it from now on all the same: SELECT cqrs.on(' "
        "|| quote_literal(h.pattern) || ', ' || "
        "quote_literal(coalesce(to_regprocedure(h.handler)::text, h.handler)) || ');' END, "
        "changed_at = clock_timestamp() FROM cqrs.handler h WHERE h.pattern = hs.pattern AND "
        "h.handler = hs.handler AND h.topic = $1 AND hs.state = 'live'",
        {topic, why});
}

void handlers_backfill_again(Connection& connection, const std::string& topic,
                             const std::string& prefix) {
    connection.query(
        "UPDATE cqrs.handler_state hs SET state = 'pending', changed_at = clock_timestamp() "
        "FROM cqrs.handler h WHERE h.pattern = hs.pattern AND h.handler = hs.handler AND "
        "h.topic = $1 AND h.backfill AND hs.state = 'live' AND $2 = ANY (hs.prefixes)",
        {topic, prefix});
}

}  // namespace cqrs::apply
