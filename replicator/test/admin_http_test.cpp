#include "admin/http.hpp"

#include <gtest/gtest.h>
#include <httplib.h>
#include <simdjson.h>
#include <sys/socket.h>

#include <chrono>
#include <memory>
#include <string>

#include "admin/json.hpp"

namespace cqrs {
namespace {

class AdminHttpTest : public testing::Test {
  protected:
    AdminHttpTest() { settings.listen = "127.0.0.1:0"; }

    httplib::Client& serve() {
        http = std::make_unique<AdminHttp>(settings, metrics, health);
        client = std::make_unique<httplib::Client>("127.0.0.1", http->port());
        return *client;
    }
    static std::string member(const std::string& json, const char* name) {
        simdjson::dom::parser parser;
        return std::string(std::string_view(parser.parse(json)[name]));
    }

    Settings settings;
    Metrics metrics;
    Health health;
    std::unique_ptr<AdminHttp> http;
    std::unique_ptr<httplib::Client> client;
};

TEST_F(AdminHttpTest, HealthFollowsTheParts) {
    auto& client = serve();
    auto answer = client.Get("/health");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 503);
    EXPECT_EQ(member(answer->body, "message"), "starting: no part has reported yet");

    health.set("relay", "");
    answer = client.Get("/health");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(member(answer->body, "status"), "ok");

    health.set("apply.parking", "a \"quoted\"\nreason");
    answer = client.Get("/health");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 503);
    EXPECT_EQ(member(answer->body, "message"), "apply.parking: a \"quoted\"\nreason");
    EXPECT_EQ(answer->get_header_value("Content-Type"), "application/json");

    health.remove("apply.parking");
    answer = client.Get("/health");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 200);
}

TEST_F(AdminHttpTest, MetricsAreInThePrometheusFormat) {
    metrics.counter("cqrs_relay_events_total", "Events published.", {{"topic", "parking"}})
        .Increment(3);
    // The same name and labels are the same counter.
    metrics.counter("cqrs_relay_events_total", "Events published.", {{"topic", "parking"}})
        .Increment(4);
    metrics.gauge("cqrs_relay_blocked", "1 while the broker blocks.").Set(1);
    const auto answer = serve().Get("/metrics");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 200);
    EXPECT_NE(answer->get_header_value("Content-Type").find("text/plain; version=0.0.4"),
              std::string::npos);
    EXPECT_NE(answer->body.find("# TYPE cqrs_relay_events_total counter"), std::string::npos);
    EXPECT_NE(answer->body.find("cqrs_relay_events_total{topic=\"parking\"} 7"), std::string::npos);
    EXPECT_NE(answer->body.find("\ncqrs_relay_blocked 1"), std::string::npos);
}

TEST_F(AdminHttpTest, StatusAndPage) {
    metrics.counter("cqrs_relay_events_total", "Events.", {{"topic", "parking"}}).Increment();
    health.set("relay", "");
    health.note("relay.lsn", "0/16B3748");
    auto& client = serve();
    const auto status = client.Get("/status.json");
    ASSERT_TRUE(status);
    EXPECT_EQ(status->status, 200);
    simdjson::dom::parser parser;
    simdjson::dom::element json = parser.parse(status->body);
    EXPECT_EQ(std::string_view(json["notes"]["relay.lsn"]), "0/16B3748");
    EXPECT_EQ(double(json["metrics"].at(0)["value"]), 1);
    EXPECT_EQ(std::string_view(json["metrics"].at(0)["labels"]["topic"]), "parking");

    const auto page = client.Get("/");
    ASSERT_TRUE(page);
    EXPECT_NE(page->get_header_value("Content-Type").find("text/html"), std::string::npos);
    for (const char* outside : {"src=\"http", "href=\"http", "//cdn"}) {
        EXPECT_EQ(page->body.find(outside), std::string::npos) << outside;
    }
    const auto nothing = client.Get("/nothing");
    ASSERT_TRUE(nothing);
    EXPECT_EQ(nothing->status, 404);
}

TEST_F(AdminHttpTest, PortInUseIsAnError) {
    serve();
    settings.listen = "127.0.0.1:" + std::to_string(http->port());
    try {
        const AdminHttp second(settings, metrics, health);
        ADD_FAILURE() << "bound twice";
    } catch (const ConfigError& e) {
        EXPECT_NE(std::string(e.what()).find("--listen (CQRS_LISTEN)"), std::string::npos);
        EXPECT_NE(std::string(e.what()).find("in use"), std::string::npos) << e.what();
    }
}

TEST_F(AdminHttpTest, NoneServesNothing) {
    settings.listen = "";
    const AdminHttp none(settings, metrics, health);
    EXPECT_EQ(none.port(), 0);
}

// A client that connects and says nothing must not hold the end back.
TEST_F(AdminHttpTest, StopsWithinASecondOrSo) {
    auto& client = serve();
    ASSERT_TRUE(client.Get("/health"));
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(http->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const auto start = std::chrono::steady_clock::now();
    http.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(1500));
    close(fd);
}

TEST(Json, Writes) {
    JsonWriter json;
    json.begin_object().member("a", 1).member("b", "x\"\n").key("c").begin_array();
    json.value(true).value(std::optional<std::int64_t>()).value(0.5).value(0.0 / 0.0).end_array();
    json.key("d").begin_object().end_object().member("e", std::string("\xff!")).end_object();
    EXPECT_EQ(json.str(),
              "{\"a\":1,\"b\":\"x\\\"\\n\",\"c\":[true,null,0.5,null],\"d\":{},"
              "\"e\":\"?!\"}");
}

}  // namespace
}  // namespace cqrs
