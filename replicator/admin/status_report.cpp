#include "admin/status_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "admin/json.hpp"

namespace cqrs {
namespace {

using Row = std::vector<std::string>;

// Left-aligned first and last column, right-aligned numbers between.
std::string aligned(const std::vector<Row>& rows) {
    std::vector<std::size_t> widths(rows.front().size());
    for (const auto& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const bool left = i == 0 || i + 1 == row.size();
            line += left ? fmt::format("{:<{}}", row[i], widths[i])
                         : fmt::format("{:>{}}", row[i], widths[i]);
            line += "  ";
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + "\n";
    }
    return out;
}

template <class T>
std::string or_dash(const std::optional<T>& value) {
    return value ? fmt::format("{}", *value) : "-";
}

std::string primary_line(const PrimaryStatus& primary) {
    std::string text;
    if (!primary.slot) {
        text = fmt::format("slot {} does not exist", primary.slot_name);
    } else {
        const auto& slot = *primary.slot;
        text = fmt::format("slot {} {}, confirmed {}, WAL kept {} ({}), not confirmed {}",
                           primary.slot_name, slot.active ? "active" : "NOT ACTIVE",
                           slot.confirmed_flush,
                           slot.wal_retained ? human_bytes(*slot.wal_retained) : "-",
                           slot.wal_status, slot.wal_behind ? human_bytes(*slot.wal_behind) : "-");
    }
    if (!primary.relay) return text + "; no relay has run yet";
    return text + fmt::format("; relay epoch {}, lsn {}, {:.1f} s ago", primary.relay->epoch,
                              primary.relay->lsn, primary.relay->age);
}

std::string replica_line(const ReplicaStatus& replica) {
    auto text = replica.name ? fmt::format("registered as {}", *replica.name)
                             : "no applier has run yet (not registered)";
    if (replica.open_incidents != 0) {
        text += fmt::format("; {} incidents not healed (cqrs.incidents)", replica.open_incidents);
    }
    return text;
}

std::string side_line(const char* name, const SideStatus& side, const std::string& found) {
    if (!side.asked) return fmt::format("{:<8} not asked for\n", name);
    if (!side.error.empty()) return fmt::format("{:<8} UNREACHABLE: {}\n", name, side.error);
    return fmt::format("{:<8} {}{}{}\n", name, side.where, found.empty() ? "" : ": ", found);
}

std::string topic_state(const TopicStatus& topic) {
    if (topic.applied && topic.applied->state == "stopped") return "stopped";
    for (const auto& prefix : topic.prefixes) {
        if (prefix.state != "live") return fmt::format("{} ({})", prefix.state, prefix.prefix);
    }
    if (topic.applied) return topic.applied->state;
    return topic.prefixes.empty() ? "-" : "pending";
}

void write_side(JsonWriter& json, const SideStatus& side) {
    json.member("asked", side.asked).member("reachable", side.readable());
    if (!side.error.empty()) json.member("error", side.error);
    if (!side.where.empty()) json.member("where", side.where);
}

void write_primary(JsonWriter& json, const PrimaryStatus& primary) {
    json.key("primary").begin_object();
    write_side(json, primary);
    if (primary.readable()) {
        json.key("slot").begin_object().member("name", primary.slot_name);
        json.member("exists", primary.slot.has_value());
        if (primary.slot) {
            json.member("active", primary.slot->active)
                .member("confirmed_flush_lsn", primary.slot->confirmed_flush)
                .member("wal_status", primary.slot->wal_status)
                .member("wal_retained_bytes", primary.slot->wal_retained)
                .member("wal_behind_bytes", primary.slot->wal_behind);
        }
        json.end_object();
        if (primary.relay) {
            json.key("relay").begin_object().member("epoch", primary.relay->epoch);
            json.member("lsn", primary.relay->lsn).member("age_seconds", primary.relay->age);
            json.end_object();
        }
    }
    json.end_object();
}

void write_replica(JsonWriter& json, const ReplicaStatus& replica) {
    json.key("replica").begin_object();
    write_side(json, replica);
    if (replica.readable()) {
        json.member("name", replica.name).member("open_incidents", replica.open_incidents);
    }
    json.end_object();
}

void write_topic(JsonWriter& json, const StatusReport& report, const std::string& name,
                 const TopicStatus& topic) {
    json.begin_object().member("topic", name).member("state", topic_state(topic));
    if (topic.relayed) {
        json.key("primary").begin_object().member("sequence", topic.relayed->sequence);
        json.member("lsn", topic.relayed->lsn).member("time_us", topic.relayed->time_us);
        json.end_object();
    }
    if (topic.queue) {
        json.key("queue").begin_object().member("exists", topic.queue->exists);
        json.member("messages", topic.queue->messages);
        json.member("consumers", topic.queue->consumers).end_object();
    }
    if (topic.applied) {
        json.key("replica").begin_object().member("epoch", topic.applied->epoch);
        json.member("sequence", topic.applied->sequence).member("lsn", topic.applied->lsn);
        json.member("committed_us", topic.applied->committed_us);
        json.member("error", topic.applied->error).end_object();
    }
    json.member("lag_events", report.lag_events(topic));
    json.member("lag_seconds", report.lag_seconds(topic));
    json.key("prefixes").begin_array();
    for (const auto& prefix : topic.prefixes) {
        json.begin_object().member("prefix", prefix.prefix).member("relation", prefix.relation);
        json.member("state", prefix.state).member("error", prefix.error).end_object();
    }
    json.end_array().end_object();
}

// An applier reports every ten seconds at the least.
constexpr double silence = 60;

void write_known(JsonWriter& json, const KnownReplica& replica) {
    json.begin_object().member("name", replica.name).member("topic", replica.topic);
    json.member("state", replica.state).member("sequence", replica.sequence);
    json.member("lag_events", replica.lag_events).member("lag_seconds", replica.lag_seconds);
    json.member("queue_messages", replica.queue_messages);
    json.member("seen_seconds_ago", replica.seen).end_object();
}

std::string known_replicas(const std::vector<KnownReplica>& replicas) {
    std::vector<Row> rows = {
        {"REPLICA", "TOPIC", "APPLIED", "LAG", "SECONDS", "QUEUE", "SEEN", "STATE"}};
    for (const auto& r : replicas)
        rows.push_back({r.name, r.topic, or_dash(r.sequence), or_dash(r.lag_events),
                        r.lag_seconds ? fmt::format("{:.1f}", *r.lag_seconds) : "-",
                        or_dash(r.queue_messages), fmt::format("{:.0f} s ago", r.seen),
                        r.seen > silence ? "GONE" : r.state});
    return aligned(rows);
}

std::string known_histories(const std::vector<KnownHistory>& histories) {
    std::vector<Row> rows = {{"HISTORY", "SINCE", "STATE"}};
    for (const auto& h : histories) rows.push_back({h.topic, or_dash(h.since), h.state});
    return aligned(rows);
}

}  // namespace

std::string human_bytes(std::int64_t bytes) {
    static constexpr std::array<const char*, 5> units = {"B", "kB", "MB", "GB", "TB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (std::abs(value) >= 1024 && unit + 1 < units.size()) {
        value /= 1024;
        ++unit;
    }
    return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::optional<std::int64_t> StatusReport::lag_events(const TopicStatus& topic) const {
    if (!topic.relayed || !topic.applied || !topic.applied->sequence || !primary.relay ||
        topic.applied->epoch != primary.relay->epoch) {
        return std::nullopt;
    }
    return std::max<std::int64_t>(0, topic.relayed->sequence - *topic.applied->sequence);
}

std::optional<double> StatusReport::lag_seconds(const TopicStatus& topic) const {
    const auto events = lag_events(topic);
    if (!events) return std::nullopt;
    if (*events == 0) return 0.0;
    if (!topic.relayed->time_us || !topic.applied->committed_us) return std::nullopt;
    const auto us = *topic.relayed->time_us - *topic.applied->committed_us;
    return std::max(0.0, static_cast<double>(us) / 1e6);
}

std::vector<std::string> StatusReport::problems() const {
    std::vector<std::string> found;
    if (!primary.error.empty()) found.push_back("primary: " + primary.error);
    if (!broker.error.empty()) found.push_back("broker: " + broker.error);
    if (!replica.error.empty()) found.push_back("replica: " + replica.error);
    if (!broker.alarm.empty())
        found.push_back(fmt::format(
            "broker: an alarm blocks publishers: {}; the relay waits and the primary keeps WAL",
            broker.alarm));
    if (primary.readable()) {
        if (!primary.slot || !primary.relay) {
            found.push_back("primary: no relay has run with slot " + primary.slot_name);
        } else if (!primary.slot->active) {
            found.push_back("primary: no relay is connected to slot " + primary.slot_name);
        }
        if (primary.slot && primary.slot->wal_status == "lost") {
            found.push_back(
                "primary: the slot lost WAL that it needed; the relay begins a new "
                "epoch and the replicas copy again");
        }
    }
    if (replica.readable()) {
        if (!replica.name) {
            found.emplace_back("replica: no applier has run yet");
        } else if (*replica.name != replica.expected_name) {
            found.push_back(fmt::format("replica: its name is {}, asked for {} (--name, CQRS_NAME)",
                                        *replica.name, replica.expected_name));
        }
    }
    for (const auto& h : histories) {
        if (h.state != "failed") continue;
        found.push_back(fmt::format("the events of topic {} are not kept: {}", h.topic, h.error));
    }
    for (const auto& r : replicas) {
        if (r.seen <= silence) continue;
        found.push_back(fmt::format(
            "replica {} has not reported for {:.0f} s; {} messages of topic {} wait for it. If it "
            "does not come back: cqrs-replicator remove-replica {}",
            r.name, r.seen, or_dash(r.queue_messages), r.topic, r.name));
    }
    for (const auto& [name, topic] : topics) {
        if (topic.applied && topic.applied->state == "stopped") {
            found.push_back(fmt::format("topic {} is stopped: {}", name, topic.applied->error));
            continue;
        }
        for (const auto& prefix : topic.prefixes) {
            if (prefix.state == "live") continue;
            found.push_back(fmt::format("prefix {} is {}{}{}", prefix.prefix, prefix.state,
                                        prefix.error.empty() ? "" : ": ", prefix.error));
        }
        if (!topic.queue || topic.prefixes.empty()) continue;
        if (!topic.queue->exists) {
            found.push_back(fmt::format("topic {}: its queue does not exist", name));
        } else if (topic.queue->consumers == 0) {
            found.push_back(fmt::format("topic {}: no applier consumes its queue", name));
        }
    }
    return found;
}

std::string to_text(const StatusReport& report) {
    std::string out = side_line("primary", report.primary, primary_line(report.primary));
    out += side_line("broker", report.broker, "");
    out += side_line("replica", report.replica, replica_line(report.replica));
    if (!report.topics.empty()) {
        std::vector<Row> rows = {
            {"TOPIC", "RELAYED", "APPLIED", "LAG", "SECONDS", "QUEUE", "CONSUMERS", "STATE"}};
        for (const auto& [name, topic] : report.topics) {
            const auto seconds = report.lag_seconds(topic);
            const bool queue = topic.queue && topic.queue->exists;
            rows.push_back(
                {name, topic.relayed ? std::to_string(topic.relayed->sequence) : "-",
                 topic.applied ? or_dash(topic.applied->sequence) : "-",
                 or_dash(report.lag_events(topic)), seconds ? fmt::format("{:.1f}", *seconds) : "-",
                 queue ? std::to_string(topic.queue->messages) : "-",
                 queue ? std::to_string(topic.queue->consumers) : "-", topic_state(topic)});
        }
        out += "\n" + aligned(rows);
    }
    if (!report.replicas.empty()) out += "\n" + known_replicas(report.replicas);
    if (!report.histories.empty()) out += "\n" + known_histories(report.histories);
    const auto problems = report.problems();
    if (!problems.empty()) out += "\n";
    for (const auto& problem : problems) out += "! " + problem + "\n";
    return out;
}

std::string to_json(const StatusReport& report) {
    JsonWriter json;
    const auto problems = report.problems();
    json.begin_object().member("ok", problems.empty());
    json.key("problems").begin_array();
    for (const auto& problem : problems) json.value(problem);
    json.end_array();
    write_primary(json, report.primary);
    json.key("broker").begin_object();
    write_side(json, report.broker);
    if (!report.broker.alarm.empty()) json.member("alarm", report.broker.alarm);
    json.end_object();
    write_replica(json, report.replica);
    json.key("topics").begin_array();
    for (const auto& [name, topic] : report.topics) write_topic(json, report, name, topic);
    json.end_array().key("replicas").begin_array();
    for (const auto& r : report.replicas) write_known(json, r);
    json.end_array().key("histories").begin_array();
    for (const auto& h : report.histories) {
        json.begin_object().member("topic", h.topic).member("state", h.state);
        json.member("since", h.since).member("error", h.error).end_object();
    }
    json.end_array().end_object();
    return json.str() + "\n";
}

}  // namespace cqrs
