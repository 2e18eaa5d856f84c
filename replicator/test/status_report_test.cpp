#include "admin/status_report.hpp"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>

namespace cqrs {
namespace {

// Primary, broker and replica well, 12 events relayed, 10 applied.
StatusReport sample() {
    StatusReport report;
    report.primary.asked = report.broker.asked = report.replica.asked = true;
    report.primary.where = "127.0.0.1:5432/parking_db";
    report.primary.slot_name = "cqrs";
    report.primary.slot = PrimaryStatus::Slot{true, "0/16B3748", "reserved", 16 << 20, 1536};
    report.primary.relay = PrimaryStatus::Relay{1700000000000000, "0/16B3748", 0.4};
    report.broker.where = "127.0.0.1:5672";
    report.replica.where = "127.0.0.1:5433/replica_db";
    report.replica.name = report.replica.expected_name = "replica";
    auto& topic = report.topics["parking"];
    topic.relayed = TopicStatus::Relayed{12, "0/16B3700", 1700000003500000};
    topic.queue = TopicStatus::Queue{true, 2, 1};
    topic.applied =
        TopicStatus::Applied{1700000000000000, 10, 1700000001000000, "0/16B3600", "live", ""};
    topic.prefixes = {{"parking", "parking_slots", "live", ""}};
    return report;
}

TEST(StatusReport, Lag) {
    auto report = sample();
    auto& topic = report.topics["parking"];
    EXPECT_EQ(report.lag_events(topic), 2);
    EXPECT_EQ(report.lag_seconds(topic), 2.5);
    topic.applied->sequence = 13;  // the relay's row is a heartbeat old
    EXPECT_EQ(report.lag_events(topic), 0);
    EXPECT_EQ(report.lag_seconds(topic), 0);
    topic.applied->epoch = 1;  // counted in another epoch: nothing can be said
    EXPECT_FALSE(report.lag_events(topic));
    EXPECT_FALSE(report.lag_seconds(topic));
}

TEST(StatusReport, Table) {
    EXPECT_EQ(to_text(sample()),
              "primary  127.0.0.1:5432/parking_db: slot cqrs active, confirmed 0/16B3748, WAL kept "
              "16.0 MB (reserved), not confirmed 1.5 kB; relay epoch 1700000000000000, lsn "
              "0/16B3748, 0.4 s ago\n"
              "broker   127.0.0.1:5672\n"
              "replica  127.0.0.1:5433/replica_db: registered as replica\n"
              "\n"
              "TOPIC    RELAYED  APPLIED  LAG  SECONDS  QUEUE  CONSUMERS  STATE\n"
              "parking       12       10    2      2.5      2          1  live\n");
}

TEST(StatusReport, Problems) {
    auto report = sample();
    EXPECT_TRUE(report.problems().empty());
    report.primary.slot->active = false;
    report.topics["parking"].queue->consumers = 0;
    report.topics["orders"].prefixes = {{"orders", "orders", "pending", ""}};
    report.topics["orders"].queue.emplace();
    EXPECT_EQ(report.problems().size(), 4U);
    report.topics["parking"].applied->state = "stopped";
    report.topics["parking"].applied->error = "a gap";
    const auto text = to_text(report);
    EXPECT_NE(text.find("! topic parking is stopped: a gap"), std::string::npos) << text;
}

TEST(StatusReport, AnAlarmOfTheBrokerIsAProblem) {
    auto report = sample();
    report.broker.alarm = "low on disk";
    EXPECT_NE(to_text(report).find("! broker: an alarm blocks publishers: low on disk"),
              std::string::npos);
    EXPECT_NE(to_json(report).find("\"alarm\":\"low on disk\""), std::string::npos);
}

TEST(StatusReport, UnreachableSidesAreShown) {
    StatusReport report;
    report.primary.asked = true;
    report.primary.error = "connection refused";
    const auto text = to_text(report);
    EXPECT_NE(text.find("primary  UNREACHABLE: connection refused\n"), std::string::npos);
    EXPECT_NE(text.find("broker   not asked for\n"), std::string::npos);
    EXPECT_EQ(report.problems().size(), 1U);
}

TEST(StatusReport, ReplicasThatAreSilentAreGone) {
    auto report = sample();
    report.replicas = {{"r1", "parking", "live", 12, 0, 0, 0.0, 2},
                       {"r2", "parking", "live", 5, 7, 7, 3.5, 7200}};
    const auto text = to_text(report);
    EXPECT_NE(text.find("r1       parking       12    0      0.0      0     2 s ago  live\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("7200 s ago  GONE\n"), std::string::npos) << text;
    ASSERT_EQ(report.problems().size(), 1U);
    EXPECT_NE(report.problems().front().find("remove-replica r2"), std::string::npos);
    EXPECT_NE(to_json(report).find("\"lag_events\":7"), std::string::npos);
}

TEST(StatusReport, HistoriesAreShown) {
    auto report = sample();
    report.histories = {{"parking", "kept", "", 1}, {"shop", "failed", "no streams", {}}};
    const auto text = to_text(report);
    EXPECT_NE(text.find("parking      1  kept\n"), std::string::npos) << text;
    ASSERT_EQ(report.problems().size(), 1U);
    EXPECT_NE(report.problems().front().find("shop are not kept: no streams"), std::string::npos);
    EXPECT_NE(to_json(report).find("\"since\":1"), std::string::npos);
}

TEST(StatusReport, Json) {
    simdjson::dom::parser parser;
    const auto text = to_json(sample());
    const simdjson::dom::element json = parser.parse(text);
    EXPECT_TRUE(bool(json["ok"]));
    EXPECT_EQ(std::int64_t(json["primary"]["slot"]["wal_retained_bytes"]), 16 << 20);
    const auto topic = json["topics"].at(0);
    EXPECT_EQ(std::string_view(topic["topic"]), "parking");
    EXPECT_EQ(std::int64_t(topic["lag_events"]), 2);
    EXPECT_EQ(double(topic["lag_seconds"]), 2.5);
    EXPECT_EQ(std::int64_t(topic["queue"]["messages"]), 2);
    EXPECT_EQ(std::string_view(topic["prefixes"].at(0)["state"]), "live");
}

TEST(HumanBytes, Units) {
    EXPECT_EQ(human_bytes(0), "0 B");
    EXPECT_EQ(human_bytes(1023), "1023 B");
    EXPECT_EQ(human_bytes(1536), "1.5 kB");
    EXPECT_EQ(human_bytes(std::int64_t{5} << 30), "5.0 GB");
    EXPECT_EQ(human_bytes(-2048), "-2.0 kB");
}

}  // namespace
}  // namespace cqrs
