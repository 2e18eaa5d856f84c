#include <gtest/gtest.h>

#include <stdexcept>

#include "broker/url.hpp"

namespace {

using cqrs::broker::parse_urls;

TEST(BrokerUrl, Defaults) {
    const auto a = parse_urls("amqp://").at(0);
    EXPECT_EQ(a.host, "localhost");
    EXPECT_EQ(a.port, 5672);
    EXPECT_EQ(a.user, "guest");
    EXPECT_EQ(a.vhost, "/");
    EXPECT_FALSE(a.tls);
    EXPECT_EQ(a.heartbeat, 10);
}

TEST(BrokerUrl, VirtualHosts) {
    EXPECT_EQ(parse_urls("amqp://h").at(0).vhost, "/");
    EXPECT_EQ(parse_urls("amqp://h/").at(0).vhost, "/");
    EXPECT_EQ(parse_urls("amqp://h/%2f").at(0).vhost, "/");
    EXPECT_EQ(parse_urls("amqp://h/%2Fa").at(0).vhost, "/a");
    EXPECT_EQ(parse_urls("amqp://h/cqrs").at(0).vhost, "cqrs");
}

TEST(BrokerUrl, SeveralHostsAndTls) {
    const auto list = parse_urls("amqps://u:p%2Cq%40@a.example:5000/v, amqp://[::1]/v ,");
    ASSERT_EQ(list.size(), 2u);
    EXPECT_TRUE(list[0].tls);
    EXPECT_EQ(list[0].password, "p,q@");
    EXPECT_EQ(list[0].name(), "a.example:5000");
    EXPECT_EQ(list[1].name(), "[::1]:5672");
    EXPECT_EQ(parse_urls("amqps://h").at(0).port, 5671);
}

TEST(BrokerUrl, Query) {
    EXPECT_EQ(parse_urls("amqp://h/v?heartbeat=30").at(0).heartbeat, 30);
    EXPECT_EQ(parse_urls("amqp://h/v?heartbeat=30").at(0).vhost, "v");
    EXPECT_THROW(parse_urls("amqp://h/v?heartbeat=0"), std::invalid_argument);
    EXPECT_THROW(parse_urls("amqp://h/v?heartbeat=1x"), std::invalid_argument);
    EXPECT_THROW(parse_urls("amqp://h/v?frame_max=1"), std::invalid_argument);
}

TEST(BrokerUrl, ErrorsDoNotShowThePassword) {
    for (const char* bad :
         {"http://u:topsecret@h", "amqp://u:topsecret@h:port/", "amqp://u:topsecret@h/%zz"}) {
        try {
            parse_urls(bad);
            ADD_FAILURE() << bad;
        } catch (const std::invalid_argument& e) {
            EXPECT_EQ(std::string(e.what()).find("topsecret"), std::string::npos);
        }
    }
    EXPECT_THROW(parse_urls(""), std::invalid_argument);
    EXPECT_THROW(parse_urls(" , "), std::invalid_argument);
}

}  // namespace
