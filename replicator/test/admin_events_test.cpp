#include "admin/events.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "admin/findings.hpp"

namespace cqrs {
namespace {

std::vector<std::string> split(std::string_view body) {
    std::vector<std::string> events;
    for_each_event(body, [&](std::string_view event) { events.emplace_back(event); });
    return events;
}

TEST(Events, AreTheBytesOfTheBody) {
    EXPECT_TRUE(split("[]").empty());
    EXPECT_EQ(split(R"([{"a":1}])"), std::vector<std::string>{R"({"a":1})"});
    const std::vector<std::string> two = {R"({"a":"],[{ \" \u00e9","n":1.50,"d":{"b":[1,{}]}})",
                                          R"({"e":1e400,"f":"ü"})"};
    EXPECT_EQ(split("[" + two[0] + "," + two[1] + "]"), two);
}

TEST(Events, OtherTextIsRefused) {
    for (const char* text : {"", "{}", "[1]", "[{}", "[{\"a\":1}", "null", "[{},"}) {
        EXPECT_THROW(split(text), std::invalid_argument) << text;
    }
}

TEST(Findings, OneLineACheckAndHowToMend) {
    Findings findings("primary");
    findings.check(true, "fine", "not fine", "mend");
    EXPECT_FALSE(findings.failed());
    findings.warn("odd", "look");
    EXPECT_FALSE(findings.failed());
    findings.check(false, "fine", "not fine", "ALTER ...;\nSELECT ...;");
    EXPECT_TRUE(findings.failed());
    EXPECT_EQ(findings.text(),
              "OK    primary: fine\n"
              "WARN  primary: odd\n        look\n"
              "FAIL  primary: not fine\n        ALTER ...;\n        SELECT ...;\n");
}

}  // namespace
}  // namespace cqrs
