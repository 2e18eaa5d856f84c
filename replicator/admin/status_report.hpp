// What `status` found, and how it is shown. No connection is needed here: unit-tested as it is.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cqrs {

// A side that was asked for. error: why it could not be read, else empty.
struct SideStatus {
    bool asked = false;
    std::string error;
    std::string where;  // "host:port/database", without secrets
    bool readable() const { return asked && error.empty(); }
};

struct PrimaryStatus : SideStatus {
    struct Slot {
        bool active = false;
        std::string confirmed_flush, wal_status;
        std::optional<std::int64_t> wal_retained;  // bytes that the slot keeps on disk
        std::optional<std::int64_t> wal_behind;    // bytes not confirmed yet
    };
    struct Relay {
        std::int64_t epoch = 0;
        std::string lsn;
        double age = 0;  // seconds since its row was written
    };
    std::string slot_name;
    std::optional<Slot> slot;
    std::optional<Relay> relay;
};

struct BrokerStatus : SideStatus {
    std::string alarm;  // that blocks publishers
};

struct ReplicaStatus : SideStatus {
    std::string expected_name;
    std::optional<std::string> name;  // cqrs.register_replica()
    std::int64_t open_incidents = 0;
};

struct PrefixStatus {
    std::string prefix, relation, state, error;
};

struct TopicStatus {
    struct Relayed {  // cqrs.relay_state
        std::int64_t sequence = 0;
        std::string lsn;
        std::optional<std::int64_t> time_us;  // commit of the last event
    };
    struct Queue {
        bool exists = false;
        std::uint32_t messages = 0, consumers = 0;
    };
    struct Applied {  // cqrs.position
        std::optional<std::int64_t> epoch, sequence, committed_us;
        std::string lsn, state, error;
    };
    std::optional<Relayed> relayed;
    std::optional<Queue> queue;
    std::optional<Applied> applied;
    std::vector<PrefixStatus> prefixes;  // subscribed on the replica
};

// As its applier reported to the primary: cqrs.replica_status.
struct KnownReplica {
    std::string name, topic, state;
    std::optional<std::int64_t> sequence, lag_events, queue_messages;
    std::optional<double> lag_seconds;
    double seen = 0;  // seconds ago
};

// A topic whose events are kept: cqrs.retention_status.
struct KnownHistory {
    std::string topic, state, error;
    std::optional<std::int64_t> since;  // sequence of the event that it began with
};

struct StatusReport {
    PrimaryStatus primary;
    std::vector<KnownHistory> histories;
    std::vector<KnownReplica> replicas;
    BrokerStatus broker;
    ReplicaStatus replica;
    std::map<std::string, TopicStatus> topics;

    // Events relayed and not applied yet; nullopt unless both sides count in the same epoch. The
    // relay writes its row once a heartbeat, so a replica may be ahead of it: that is no lag.
    std::optional<std::int64_t> lag_events(const TopicStatus& topic) const;
    // Between the commits of the last event relayed and of the last one applied; 0 without lag.
    std::optional<double> lag_seconds(const TopicStatus& topic) const;
    // What is not as it should be; empty means exit status 0.
    std::vector<std::string> problems() const;
};

std::string to_text(const StatusReport& report);
std::string to_json(const StatusReport& report);

std::string human_bytes(std::int64_t bytes);  // "16.0 MB"

}  // namespace cqrs
