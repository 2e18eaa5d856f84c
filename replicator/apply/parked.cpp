#include "apply/parked.hpp"

#include <event.hpp>  // the JSON writer of the extension, not the one beside this file

#include <optional>

#include "apply/errors.hpp"

namespace cqrs::apply {

using postgres::Connection;
using postgres::Param;

namespace {

void append_part(std::string& key, std::string_view part) {
    key += std::to_string(part.size());
    key += ':';
    key += part;
}

std::string json_string(std::string_view text) {
    std::string out;
    // The decoder has seen to it that it is UTF-8.
    if (!append_json_string(out, text)) return "\"\"";
    return out;
}

// Everything of one table begins with this.
std::string table_part(const Table& table) {
    std::string key;
    append_part(key, table.prefix);
    return key;
}

// nullopt: the event leaves the key as it was.
std::optional<std::string> old_key_json(const Event& event) {
    const std::string before = park_key(event, event.old);
    if (before.empty() || before == park_key(event, event.row)) return std::nullopt;
    return park_key_json(*event.table, event.old);
}

}  // namespace

std::string park_key(const Event& event, const Field* row) {
    if (!event.table || !event.table->park || !row) return {};
    std::string key = table_part(*event.table);
    for (std::uint32_t c : event.table->primary().columns) {
        if (!row[c].is(Field::Kind::value)) return {};
        append_part(key, row[c].text());
    }
    return key;
}

std::string park_key_json(const Table& table, const Field* row) {
    std::string json = "{";
    for (std::uint32_t c : table.primary().columns) {
        if (json.size() > 1) json += ',';
        json += json_string(table.columns[c].name) + ":" + json_string(row[c].text());
    }
    return json + "}";
}

void Parked::load(Connection& connection, const std::vector<Table>& tables) {
    keys_.clear();
    for (const Table& table : tables) {
        if (!table.park) continue;
        std::string columns;
        for (std::uint32_t c : table.primary().columns)
            columns += ", k ->> " + postgres::quote_literal(table.columns[c].name);
        const auto rows = connection.query(
            "SELECT DISTINCT prefix" + columns +
                " FROM cqrs.parked, unnest(ARRAY[key, old_key]) AS k WHERE prefix = $1 AND k IS "
                "NOT NULL",
            {table.prefix});
        for (int i = 0; i < rows.rows(); ++i) {
            std::string key = table_part(table);
            for (std::size_t c = 1; c <= table.primary().columns.size(); ++c)
                append_part(key, rows.get(i, static_cast<int>(c)));
            keys_.insert(std::move(key));
        }
    }
}

void Parked::begin() {
    working_ = keys_;
    held_.clear();
    truncated_.clear();
}

bool Parked::takes(const Event& event) {
    if (working_.empty() || !event.table || !event.table->park) return false;
    if (event.verb == Verb::truncate) {
        // Nothing of the table is left to wait for.
        const std::string table = table_part(*event.table);
        std::erase_if(working_, [&](const std::string& key) { return key.starts_with(table); });
        std::erase_if(held_, [&](const Held& h) { return h.event->table == event.table; });
        truncated_.push_back(&event);
        return false;
    }
    const std::string now = park_key(event, event.row);
    const std::string before = park_key(event, event.old);
    if (!working_.contains(now) && (before.empty() || !working_.contains(before))) return false;
    // A change of key ties both: what comes of either is behind it.
    working_.insert(now);
    if (!before.empty()) working_.insert(before);
    held_.push_back({&event, {}, {}});
    return true;
}

bool Parked::park(const WriteError& error) {
    const Event& event = *error.event;
    if (!error.handler.empty()) return false;
    const std::string now = park_key(event, event.row);
    if (now.empty()) return false;
    working_.insert(now);
    if (std::string before = park_key(event, event.old); !before.empty())
        working_.insert(std::move(before));
    held_.push_back({&event, error.cause.sqlstate(), describe(error)});
    return true;
}

std::size_t Parked::store(Connection& connection, const std::string& topic, std::int64_t epoch) {
    const std::string number = std::to_string(epoch);
    for (const Event* e : truncated_)
        connection.query("DELETE FROM cqrs.parked WHERE prefix = $1", {e->table->prefix});
    truncated_.clear();
    std::size_t refused = 0;
    for (const Held& h : held_) {
        const bool first = !h.sqlstate.empty();
        refused += first;
        const auto old_key = old_key_json(*h.event);
        try {
            // What is refused waits only while its subscription, as it is at this moment, says so.
            const auto stored = connection.query(
                "INSERT INTO cqrs.parked (topic, epoch, sequence, prefix, key, event, sqlstate, "
                "message, attempts, old_key) SELECT $1, $2::bigint, $3::bigint, $4, $5::jsonb, "
                "$6::json, $7::text, $8, $9::integer, $10::jsonb WHERE $7::text IS NULL OR EXISTS "
                "(SELECT FROM cqrs.subscription WHERE prefix = $4 AND on_error = 'park')",
                {topic, number, std::to_string(h.event->sequence), h.event->table->prefix,
                 park_key_json(*h.event->table, h.event->row), h.event->json,
                 first ? Param(h.sqlstate) : Param(), first ? Param(h.message) : Param(),
                 first ? "1" : "0", old_key ? Param(*old_key) : Param()});
            if (stored.affected() == 0)
                throw Restart("the subscription of " + h.event->table->prefix + " was changed");
        } catch (const postgres::Error& e) {
            // The database's encoding lacks a character of the event: it cannot wait here.
            if (e.sqlstate() != "22P05") throw;
            throw WriteError(*h.event, e);
        }
    }
    held_.clear();
    return refused;
}

}  // namespace cqrs::apply
