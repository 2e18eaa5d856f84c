#include "config.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "redact.hpp"

namespace cqrs {
namespace {

// A writable argv, as main() gets it.
class Arguments {
  public:
    Arguments(std::initializer_list<const char*> words) {
        copies_.emplace_back(strdup("cqrs-replicator"));
        for (const char* word : words) copies_.emplace_back(strdup(word));
        for (const auto& copy : copies_) argv_.push_back(copy.get());
        argv_.push_back(nullptr);
    }
    Invocation parse() {
        return parse_command_line(static_cast<int>(copies_.size()), argv_.data());
    }
    std::string at(std::size_t i) const { return argv_[i]; }

  private:
    struct Free {
        void operator()(char* p) const noexcept { std::free(p); }
    };
    std::vector<std::unique_ptr<char, Free>> copies_;
    std::vector<char*> argv_;
};

Invocation parse(std::initializer_list<const char*> words) {
    return Arguments(words).parse();
}

class Config : public testing::Test {
  protected:
    void SetUp() override {
        for (const char* name :
             {"DATABASE_URL", "REPLICA_DATABASE_URL", "RABBITMQ_BROKER_URL", "RABBITMQ_CACERT",
              "CQRS_CONFIG", "CQRS_LISTEN", "CQRS_SLOT", "CQRS_NAME", "CQRS_BATCH_BYTES",
              "CQRS_MAX_BATCH", "CQRS_MAX_MESSAGE_BYTES", "CQRS_HEARTBEAT", "CQRS_ALL_ORIGINS",
              "CQRS_PREFETCH", "CQRS_APPLY_BATCH", "CQRS_MEMORY", "CQRS_NO_AUTO_RESYNC",
              "CQRS_LOG_LEVEL"}) {
            unsetenv(name);
        }
    }
    void TearDown() override {
        SetUp();
        for (const auto& path : files_) unlink(path.c_str());
    }
    static void env(const char* name, const char* value) { setenv(name, value, 1); }

    std::string file(const std::string& content) {
        std::string path = testing::TempDir() + "cqrs-config-XXXXXX";
        const int fd = mkstemp(path.data());
        EXPECT_GE(fd, 0);
        close(fd);
        std::ofstream(path) << content;
        files_.push_back(path);
        return path;
    }

    // The text of the ConfigError that the arguments cause.
    static std::string error(std::initializer_list<const char*> words) {
        try {
            parse(words);
        } catch (const ConfigError& e) {
            return e.what();
        }
        ADD_FAILURE() << "no error";
        return {};
    }
    static void expect_named(const std::string& text, std::initializer_list<const char*> parts) {
        for (const char* part : parts) {
            EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
        }
    }
    // The two URLs that a relay needs.
    static void relay_environment() {
        env("DATABASE_URL", "postgresql://app:secret@primary/db");
        env("RABBITMQ_BROKER_URL", "amqp://app:secret@broker");
    }

  private:
    std::vector<std::string> files_;
};

TEST_F(Config, AuthoritiesWithoutTls) {
    env("DATABASE_URL", "postgresql://h/d");
    env("RABBITMQ_BROKER_URL", "amqps://mq,amqp://u:secret@other/v");
    EXPECT_EQ(parse({"relay"}).settings.broker_cacert, "");
    env("RABBITMQ_CACERT", "/ca.pem");
    const std::string text = error({"relay"});
    EXPECT_NE(text.find("--broker-cacert (RABBITMQ_CACERT)"), text.npos) << text;
    EXPECT_NE(text.find("--broker-url (RABBITMQ_BROKER_URL) reaches other:5672"), text.npos)
        << text;
    EXPECT_EQ(text.find("secret"), text.npos);
    env("RABBITMQ_BROKER_URL", "amqps://mq");
    EXPECT_EQ(parse({"relay"}).settings.broker_cacert, "/ca.pem");
}

TEST_F(Config, Defaults) {
    relay_environment();
    const auto invocation = parse({"relay"});
    EXPECT_EQ(invocation.command, Command::relay);
    EXPECT_EQ(invocation.settings.slot, "cqrs");
    EXPECT_EQ(invocation.settings.listen, "0.0.0.0:8000");
    EXPECT_EQ(invocation.settings.batch_bytes, 262144U);
    EXPECT_EQ(invocation.settings.heartbeat, std::chrono::seconds(1));
    EXPECT_TRUE(invocation.settings.auto_resync);
}

TEST_F(Config, FlagBeatsEnvironmentBeatsFile) {
    relay_environment();
    const auto path = file("slot = 'file'\nheartbeat = \"2s\"\nbatch-bytes = 2_048\n");
    env("CQRS_CONFIG", path.c_str());
    auto settings = parse({"relay"}).settings;
    EXPECT_EQ(settings.slot, "file");
    EXPECT_EQ(settings.heartbeat, std::chrono::seconds(2));
    EXPECT_EQ(settings.batch_bytes, 2048U);

    env("CQRS_SLOT", "environment");
    settings = parse({"relay"}).settings;
    EXPECT_EQ(settings.slot, "environment");
    EXPECT_EQ(settings.batch_bytes, 2048U);

    settings = parse({"relay", "--slot", "flag"}).settings;
    EXPECT_EQ(settings.slot, "flag");
    EXPECT_EQ(settings.heartbeat, std::chrono::seconds(2));
}

TEST_F(Config, FileAloneIsEnough) {
    const auto path = file(
        "# all three\n"
        "database-url = \"postgresql://app:a#b@primary/db\"  # a '#' in quotes is no comment\n"
        "replica-database-url = 'host=replica dbname=db password=''\n"
        "no-auto-resync = true\n");
    EXPECT_THROW(parse({"run", "--config", path.c_str()}), ConfigError);  // the quotes
    const auto good = file(
        "database-url = \"postgresql://app:a#b@primary/db\"  # a '#' in quotes is no comment\n"
        "replica-database-url = \"host=replica dbname=db\"\n"
        "broker-url = 'amqp://one, amqps://two'\n"
        "no-auto-resync = true\n"
        "json = 1\n");
    EXPECT_THROW(parse({"run", "--config", good.c_str()}), ConfigError);  // json is a flag only
    const auto better = file(
        "database-url = \"postgresql://app:a#b@primary/db\"  # a '#' in quotes is no comment\n"
        "replica-database-url = \"host=replica dbname=db\"\n"
        "broker-url = 'amqp://one, amqps://two'\n"
        "no-auto-resync = true\n");
    const auto settings = parse({"run", "--config", better.c_str()}).settings;
    EXPECT_EQ(settings.database_url, "postgresql://app:a#b@primary/db");
    EXPECT_EQ(settings.broker_url, "amqp://one, amqps://two");
    EXPECT_FALSE(settings.auto_resync);
}

TEST_F(Config, FileMayComeFromWindows) {
    relay_environment();
    const auto path = file("\xEF\xBB\xBFslot = \"a\"\r\nheartbeat = '2s'\r\n");
    const auto settings = parse({"relay", "--config", path.c_str()}).settings;
    EXPECT_EQ(settings.slot, "a");
    EXPECT_EQ(settings.heartbeat, std::chrono::seconds(2));
}

TEST_F(Config, FileErrorsNameFileAndLine) {
    relay_environment();
    const auto fails = [&](const char* content, std::initializer_list<const char*> parts) {
        const auto path = file(content);
        const auto text = error({"relay", "--config", path.c_str()});
        expect_named(text, parts);
        expect_named(text, {path.c_str()});
    };
    fails("slot = \"a\"\nsolt = \"b\"\n", {"line 2", "solt is not a setting"});
    fails("slot = b\n", {"line 1", "quoted string"});
    fails("[relay]\n", {"line 1", "no [sections]"});
    fails("slot = \"a\"\nslot = \"b\"\n", {"line 2", "set twice"});
    fails("slot = \"a\n", {"not closed"});
    fails("slot = \"a\" b\n", {"unexpected text"});
    fails("batch-bytes = 12\n", {"line 1: batch-bytes", "\"12\"", "1024 to 16777216"});
    // Checked although `relay` has no use for it.
    fails("prefetch = 0\n", {"prefetch", "1 to 65535"});
    expect_named(error({"relay", "--config", "/nonexistent"}),
                 {"--config (CQRS_CONFIG)", "/nonexistent", "No such file"});
}

TEST_F(Config, MissingSettingsAreNamed) {
    expect_named(error({"relay"}), {"relay needs --database-url (DATABASE_URL)"});
    env("DATABASE_URL", "dbname=db");
    expect_named(error({"relay"}), {"--broker-url (RABBITMQ_BROKER_URL)"});
    expect_named(error({"run"}), {"--replica-database-url (REPLICA_DATABASE_URL)"});
    EXPECT_EQ(parse({"status"}).settings.database_url, "dbname=db");
    unsetenv("DATABASE_URL");
    expect_named(error({"status"}), {"at least one of", "DATABASE_URL", "RABBITMQ_BROKER_URL"});
    expect_named(error({"doctor"}), {"at least one of"});
    expect_named(error({"tail"}), {"--broker-url (RABBITMQ_BROKER_URL)"});
}

TEST_F(Config, AddAndRemoveReplicaNameTheReplica) {
    env("RABBITMQ_BROKER_URL", "amqp://h/");
    expect_named(error({"remove-replica"}), {"remove-replica needs the replica's name"});
    EXPECT_EQ(parse({"remove-replica", "r1"}).settings.replica, "r1");
    expect_named(error({"remove-replica", "r.1"}), {"the replica's name", "\"r.1\""});
    expect_named(error({"add-replica", "r1"}), {"--database-url (DATABASE_URL)"});
    env("DATABASE_URL", "dbname=db");
    env("REPLICA_DATABASE_URL", "dbname=r");
    const auto settings =
        parse({"add-replica", "r1", "--topics", "shop,odd", "--create-tables", "--jobs", "3"})
            .settings;
    EXPECT_EQ(settings.replica, "r1");
    EXPECT_EQ(settings.topics, (std::vector<std::string>{"shop", "odd"}));
    EXPECT_TRUE(settings.create_tables);
    EXPECT_EQ(settings.jobs, 3U);
    expect_named(error({"add-replica", "r1", "--topics", "shop,"}), {"--topics (CQRS_TOPICS)"});
}

TEST_F(Config, ApplyNeedsNoPrimary) {
    env("REPLICA_DATABASE_URL", "dbname=db");
    env("RABBITMQ_BROKER_URL", "amqp://broker");
    EXPECT_EQ(parse({"apply"}).settings.database_url, "");
}

TEST_F(Config, MalformedValuesAreNamed) {
    relay_environment();
    const auto fails = [](const char* flag, const char* value,
                          std::initializer_list<const char*> parts) {
        const auto text = error({"relay", flag, value});
        expect_named(text, parts);
        expect_named(text, {flag});
    };
    fails("--slot", "Upper", {"CQRS_SLOT", "a-z 0-9 _"});
    fails("--slot", "", {"CQRS_SLOT"});
    fails("--batch-bytes", "1023", {"CQRS_BATCH_BYTES", "1024"});
    fails("--batch-bytes", "17MB", {"CQRS_BATCH_BYTES"});
    fails("--batch-bytes", "64 KiB", {"kB, MB"});
    fails("--batch-bytes", "-1", {"CQRS_BATCH_BYTES"});
    fails("--max-batch", "99999999999999999999", {"CQRS_MAX_BATCH"});
    fails("--heartbeat", "0", {"CQRS_HEARTBEAT", "100ms"});
    fails("--log-level", "loud", {"CQRS_LOG_LEVEL", "trace, debug"});
    fails("--listen", "8000", {"CQRS_LISTEN", "HOST:PORT"});
    fails("--listen", "localhost:70000", {"CQRS_LISTEN"});
    fails("--database-url", "postgresql://app:secret@[::1/db", {"DATABASE_URL"});
    fails("--broker-url", "http://h", {"RABBITMQ_BROKER_URL", "amqp://"});
    env("CQRS_SLOT", "Bad Name");
    expect_named(error({"relay"}), {"--slot (CQRS_SLOT)", "Bad Name"});
    env("CQRS_SLOT", "");  // empty is unset: compose files pass variables on like that
    EXPECT_EQ(parse({"relay"}).settings.slot, "cqrs");
}

TEST_F(Config, ErrorsCarryNoPassword) {
    for (const char* url : {"postgres//app:secret@h/db", "postgresql://app:secret@h/db?x=1",
                            "host=h password=secret what"}) {
        EXPECT_EQ(error({"relay", "--database-url", url}).find("secret"), std::string::npos) << url;
        EXPECT_EQ(error({"relay", url}).find("secret@"), std::string::npos) << url;
    }
    EXPECT_EQ(error({"relay", "--broker-url", "amqp:app:secret@h"}).find("secret"),
              std::string::npos);
}

TEST_F(Config, UnitsAndSwitches) {
    relay_environment();
    const auto settings = parse({"relay", "--batch-bytes=128kB", "--max-message-bytes", "1MB",
                                 "--heartbeat", "500ms", "--all-origins", "--listen", ""})
                              .settings;
    EXPECT_EQ(settings.batch_bytes, 131072U);
    EXPECT_EQ(settings.max_message_bytes, 1048576U);
    EXPECT_EQ(settings.heartbeat, std::chrono::milliseconds(500));
    EXPECT_TRUE(settings.all_origins);
    EXPECT_EQ(settings.listen, "");
    env("CQRS_ALL_ORIGINS", "false");
    EXPECT_FALSE(parse({"relay"}).settings.all_origins);
    env("CQRS_ALL_ORIGINS", "perhaps");
    expect_named(error({"relay"}), {"CQRS_ALL_ORIGINS", "true or false"});
    unsetenv("CQRS_ALL_ORIGINS");
    expect_named(error({"relay", "--batch-bytes", "2MB", "--max-message-bytes", "1MB"}),
                 {"--batch-bytes", "--max-message-bytes"});
}

TEST_F(Config, TailTakesPatterns) {
    env("RABBITMQ_BROKER_URL", "amqp://broker/");
    EXPECT_EQ(parse({"tail"}).settings.types, std::vector<std::string>{"#"});
    const auto settings = parse({"tail", "parking.#", "-n", "3", "order.create"}).settings;
    EXPECT_EQ(settings.types, (std::vector<std::string>{"parking.#", "order.create"}));
    EXPECT_EQ(settings.count, 3U);
}

TEST_F(Config, TailFrom) {
    env("RABBITMQ_BROKER_URL", "amqp://broker/");
    const auto settings = parse({"tail", "--from", "17", "parking.#"}).settings;
    ASSERT_TRUE(settings.from.has_value());
    EXPECT_EQ(settings.from->value, 17);
    EXPECT_FALSE(parse({"tail"}).settings.from.has_value());
    expect_named(error({"tail", "--from", "yesterday"}), {"--from", "yesterday", "oldest"});
}

TEST_F(Config, RebuildNamesOneThing) {
    env("DATABASE_URL", "dbname=p");
    env("REPLICA_DATABASE_URL", "dbname=r");
    env("RABBITMQ_BROKER_URL", "amqp://broker/");
    const auto settings = parse({"rebuild", "--handler", "f(jsonb[])", "--clear", "a", "--clear",
                                 "b", "--check", "SELECT true", "--source", "history"})
                              .settings;
    EXPECT_EQ(settings.handler, "f(jsonb[])");
    EXPECT_EQ(settings.clear, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(settings.checks, std::vector<std::string>{"SELECT true"});
    EXPECT_EQ(settings.source, "history");
    expect_named(error({"rebuild"}), {"--handler", "--table", "--topics"});
    expect_named(error({"rebuild", "--handler", "f", "--table", "t"}), {"one of"});
    expect_named(error({"rebuild", "--table", "t", "--clear", "a"}), {"--clear"});
    expect_named(error({"rebuild", "--handler", "f", "--source", "guess"}),
                 {"--source", "guess", "history or snapshot"});
    env("CQRS_TOPICS", "parking,shop");
    EXPECT_TRUE(parse({"rebuild", "--table", "t"}).settings.topics.empty());
    EXPECT_EQ(parse({"rebuild"}).settings.topics, (std::vector<std::string>{"parking", "shop"}));
    unsetenv("CQRS_TOPICS");
}

TEST_F(Config, CommandsAndHelp) {
    expect_named(error({}), {"no command given"});
    expect_named(error({"relya"}), {"\"relya\" is not a command", "doctor"});
    expect_named(error({"relay", "--nmae", "x"}), {"--nmae"});
    expect_named(error({"tail", "--slot", "x"}), {"--slot"});  // not a setting of tail
    const auto help = [](std::initializer_list<const char*> words) -> std::string {
        try {
            parse(words);
        } catch (const HelpRequested& h) {
            return h.what();
        }
        return {};
    };
    expect_named(help({"--help"}), {"relay", "apply", "doctor", "CQRS_CONFIG"});
    expect_named(help({"relay", "--help"}),
                 {"--batch-bytes", "CQRS_BATCH_BYTES", "256kB", "--slot", "[cqrs]"});
    expect_named(help({"--version"}), {"cqrs-replicator 1"});
    expect_named(help({"apply", "--version"}), {"cqrs-replicator 1"});
}

TEST_F(Config, PasswordsLeaveTheProcessTitle) {
    Arguments arguments{"relay", "--database-url", "postgresql://app:long-secret@h/db",
                        "--broker-url=amqp://g:x@h"};
    const auto settings = arguments.parse().settings;
    EXPECT_EQ(settings.database_url, "postgresql://app:long-secret@h/db");
    EXPECT_EQ(settings.broker_url, "amqp://g:x@h");
    EXPECT_EQ(arguments.at(3), "postgresql://app:***@h/db");
    // As much as fits where a shorter text stood.
    EXPECT_EQ(arguments.at(4), "--broker-url=amqp://g:***");
}

TEST(Listen, Forms) {
    EXPECT_FALSE(parse_listen("none"));
    EXPECT_FALSE(parse_listen(""));
    EXPECT_EQ(parse_listen("[::1]:80")->host, "::1");
    EXPECT_EQ(parse_listen("localhost:0")->port, 0);
    for (const char* bad : {":80", "h:", "h:x", "::1:80", "[]:80", "h"}) {
        EXPECT_THROW(parse_listen(bad), ConfigError) << bad;
    }
}

TEST(Redact, HidesPasswords) {
    const std::vector<std::pair<const char*, const char*>> cases = {
        {"postgresql://app:secret@h/db", "postgresql://app:***@h/db"},
        {"postgresql://app@h/db", "postgresql://app@h/db"},
        {"postgresql://h:5432/db", "postgresql://h:5432/db"},
        {"amqp://a:s@one,amqps://b:t@two:5671/v", "amqp://a:***@one,amqps://b:***@two:5671/v"},
        {"amqp://a:s@e/c:r@h/v", "amqp://a:***@h/v"},  // unencoded: hides up to the last @
        {"postgresql://app:s?s@h/db", "postgresql://app:***@h/db"},
        {"postgresql://h/db?user=a&password=s&sslmode=require",
         "postgresql://h/db?user=a&password=***&sslmode=require"},
        {"host=h password=secret dbname=d", "host=h password=*** dbname=d"},
        {"host=h password = 'a b\\'c' dbname=d", "host=h password = *** dbname=d"},
        {"password=secret", "password=***"},
        {"sslpassword=x sslkey=k", "sslpassword=*** sslkey=k"},
        {"passfile=/f", "passfile=/f"},
        {"cannot reach amqp://a:s@h now", "cannot reach amqp://a:***@h now"},
        {"postgres//app:secret@h/db", "postgres//app:***@h/db"},
        {"password=s&t host=h", "password=*** host=h"},
        {"", ""},
    };
    for (const auto& [given, shown] : cases) EXPECT_EQ(redact(given), shown) << given;
}

// Nothing but the URL is in an argument: white space and quotes belong to the password.
TEST(Redact, HidesPasswordsOfArguments) {
    const std::vector<std::pair<const char*, const char*>> cases = {
        {"postgresql://app:one two@h/db", "postgresql://app:***@h/db"},
        {"--broker-url=amqp://a:s\"t@one,amqp://b:u v@two",
         "--broker-url=amqp://a:***@one,amqp://b:***@two"},
        {"postgresql://h/db?password=s t&user=a", "postgresql://h/db?password=***&user=a"},
        {"host=h password=s&t dbname=d", "host=h password=*** dbname=d"},
        {"--slot=a", "--slot=a"},
    };
    for (const auto& [given, shown] : cases) EXPECT_EQ(redact_argument(given), shown) << given;
}

}  // namespace
}  // namespace cqrs
