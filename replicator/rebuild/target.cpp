#include "rebuild/target.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace cqrs::rebuild {

namespace {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

Error refused(const std::string& what, const std::string& hint = {}) {
    return {Remedy::stop, "55000", what, "", hint};
}

// Registrations of one topic, or of one function ("": all of the topic).
void add_handlers(Connection& replica, const std::string& topic, const std::string& oid,
                  std::map<std::string, Target>& targets) {
    const auto rows = replica.query(
        "SELECT h.topic, h.handler, coalesce(to_regprocedure(h.handler)::text, h.handler), "
        "h.pattern, h.backfill, coalesce(hs.state,"
        " '') FROM cqrs.handler h LEFT JOIN cqrs.handler_state hs USING (pattern, handler) WHERE "
        "($1 = '' OR h.topic = $1) AND ($2 = '' OR to_regprocedure(h.handler)::oid::text = $2) "
        "ORDER BY "
        "h.registered_at, h.pattern, h.handler",
        {topic, oid});
    for (int i = 0; i < rows.rows(); ++i) {
        auto& handlers = targets[std::string(rows.get(i, 0))].handlers;
        apply::Handlers::Function function{std::string(rows.get(i, 1)),
                                           std::string(rows.get(i, 2))};
        if (rows.get(i, 5).empty() || rows.get(i, 5) == "pending")
            throw refused(
                fmt::format("the applier has not begun with handler {} yet", function.name),
                "SELECT * FROM cqrs.handler_status; on the replica shows when it has.");
        auto handler = std::find_if(handlers.begin(), handlers.end(),
                                    [&](const auto& h) { return h.function == function; });
        if (handler == handlers.end())
            handler = handlers.insert(handlers.end(), {std::move(function), {}, true});
        handler->patterns.emplace_back(rows.get(i, 3));
        handler->backfill &= rows.get_bool(i, 4);
    }
}

std::string find_function(Connection& replica, const std::string& name) {
    const bool with_arguments = name.find('(') != std::string::npos;
    const auto row = replica.query(
        with_arguments ? "SELECT to_regprocedure($1)::oid" : "SELECT to_regproc($1)::oid", {name});
    if (row.is_null(0, 0))
        throw refused(fmt::format("there is no function {} on the replica, or several", name),
                      "Name it with its arguments: 'parking_occupancy_handler(jsonb[])'.");
    return std::string(row.get(0, 0));
}

bool named(const verify::Pair& pair, const std::string& name) {
    return name == pair.prefix || name == pair.here || "public." + name == pair.here;
}

}  // namespace

std::map<std::string, Target> find_targets(const Settings& settings, Connection& replica) {
    std::map<std::string, Target> targets;
    if (!settings.handler.empty()) {
        add_handlers(replica, "", find_function(replica, settings.handler), targets);
        if (targets.empty())
            throw refused(settings.handler + " is no handler",
                          "SELECT * FROM cqrs.handler_status; on the replica shows which are.");
        if (targets.size() > 1)
            throw refused(
                fmt::format("{} handles events of several topics: between them there is "
                            "no order in which they could be given to it again",
                            settings.handler));
        return targets;
    }
    const auto pairs = verify::load_pairs(replica);
    for (const std::string& name : settings.tables) {
        const auto pair =
            std::find_if(pairs.begin(), pairs.end(), [&](const auto& p) { return named(p, name); });
        if (pair == pairs.end()) throw refused("no such table is subscribed: " + name);
        auto& tables = targets[pair->topic].tables;
        if (std::none_of(tables.begin(), tables.end(),
                         [&](const auto& t) { return t.prefix == pair->prefix; }))
            tables.push_back(*pair);
    }
    for (const std::string& topic : settings.topics) {
        for (const verify::Pair& pair : pairs)
            if (pair.topic == topic) targets[topic].tables.push_back(pair);
        add_handlers(replica, topic, "", targets);
        if (!targets.contains(topic)) throw refused("topic " + topic + " is not subscribed");
        // What only adds up cannot be told to forget.
        std::erase_if(targets[topic].handlers, [](const Target::Handler& h) {
            if (!h.backfill)
                spdlog::warn("rebuild: {} was registered without backfill and is left as it is",
                             h.function.name);
            return !h.backfill;
        });
    }
    return targets;
}

}  // namespace cqrs::rebuild
