// What is said when there is no connection to the broker.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "broker/connection.hpp"
#include "broker/dial.hpp"
#include "broker/url.hpp"
#include "open_files.hpp"
#include "postgres/connection.hpp"

namespace cqrs {
namespace {

using namespace std::chrono_literals;

// A port of this machine, bound; listens when it is told to.
class Port {
  public:
    Port() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in a = {};
        a.sin_family = AF_INET;
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof a;
        EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&a), size), 0);
        EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &size), 0);
        name_ = "127.0.0.1:" + std::to_string(ntohs(a.sin_port));
    }
    ~Port() { close(fd_); }
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;
    void listen(int queue = 5) { EXPECT_EQ(::listen(fd_, queue), 0); }
    int accept() { return ::accept(fd_, nullptr, nullptr); }
    const std::string& name() const { return name_; }

  private:
    int fd_;
    std::string name_;
};

std::string complaint(const std::string& url, const std::string& cacert = "",
                      std::chrono::milliseconds timeout = 5s) {
    try {
        broker::Connection::open(url, cacert, "test", timeout);
    } catch (const broker::Error& e) {
        return e.what();
    }
    return "connected";
}

TEST(Dial, SaysWhyNot) {
    Port closed;
    EXPECT_EQ(complaint("amqp://" + closed.name()),
              closed.name() +
                  ": cannot connect: Connection refused (is the broker running, and is the broker "
                  "URL's port right?)");
    EXPECT_NE(complaint("amqp://no-such-host.invalid")
                  .find("no-such-host.invalid:5672: cannot "
                        "connect: "),
              std::string::npos);
    EXPECT_NE(complaint("amqp://no-such-host.invalid").find("does the name resolve here?"),
              std::string::npos);
}

TEST(Dial, SaysWhyNotOfTls) {
    const std::string bundle = testing::TempDir() + "cqrs-no-authorities.pem";
    std::ofstream(bundle) << "";
    Port port;
    EXPECT_NE(complaint("amqps://" + port.name(), bundle).find("cannot read CA certificates from"),
              std::string::npos);
    unlink(bundle.c_str());
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) != 0) GTEST_SKIP() << "no authorities";
    EXPECT_NE(complaint("amqps://" + port.name()).find("Connection refused"), std::string::npos);
    port.listen();
    std::thread plain([&] {
        const int fd = port.accept();
        EXPECT_EQ(write(fd, "AMQP\0\0\x09\x01", 8), 8);
        close(fd);
    });
    const std::string text = complaint("amqps://" + port.name());
    plain.join();
    EXPECT_NE(text.find("cannot connect: TLS: "), text.npos) << text;
    EXPECT_NE(text.find("does the broker speak TLS on this port?"), text.npos) << text;
}

TEST(Dial, SaysThatNothingAnswers) {
    Port port;
    port.listen();
    const std::string text = complaint("amqp://" + port.name(), "", 50ms);
    EXPECT_NE(text.find("login as \"guest\" to virtual host \"/\": "), text.npos) << text;
    EXPECT_NE(text.find("the port is open, but nothing answers"), text.npos) << text;
}

// Whose queue of connections is full answers nobody.
TEST(Dial, CanBeBrokenOffWhileItConnects) {
    Port port;
    port.listen(0);
    const broker::Address address = broker::parse_urls("amqp://" + port.name()).front();
    broker::Breaker breaker;
    std::vector<int> queue;
    std::string text;
    while (text.empty() && queue.size() < 10) {
        try {
            queue.push_back(broker::dial(address, 300ms, breaker));
        } catch (const broker::Error& e) {
            text = e.what();
        }
    }
    EXPECT_EQ(text,
              port.name() +
                  ": cannot connect: no answer within 300 ms (is the broker URL's host right, "
                  "and does a firewall stand between?)");
    std::atomic<bool> over{false};
    std::thread other([&] {
        while (!over) {
            breaker.break_off();
            std::this_thread::sleep_for(1ms);
        }
    });
    EXPECT_THROW(broker::dial(address, 10min, breaker), broker::Error);
    over = true;
    other.join();
    for (const int fd : queue) close(fd);
}

TEST(Dial, SaysThatTooManyFilesAreOpen) {
    // UBSan opens a pipe for the first object that it sees of a class.
    EXPECT_NE(complaint("amqp://127.0.0.1:1"), "");
    EXPECT_THROW(postgres::Connection::open("host=127.0.0.1 port=1", "test"), postgres::Error);
    rlimit before = {};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit none = before;
    none.rlim_cur = 0;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    const std::string text = complaint("amqp://127.0.0.1"), by_name = complaint("amqp://some-host");
    std::string hint;
    try {
        postgres::Connection::open("host=127.0.0.1", "test");
    } catch (const postgres::Error& e) {
        hint = e.hint();
    }
    setrlimit(RLIMIT_NOFILE, &before);
    const std::string expected =
        "127.0.0.1:5672: cannot connect: Too many open files (0 files may be open; raise it: "
        "ulimit -n 1024";
    EXPECT_EQ(text.substr(0, expected.size()), expected);
    EXPECT_NE(by_name.find("some-host:5672: cannot connect: Too many open files"), by_name.npos)
        << by_name;
    EXPECT_EQ(hint.substr(0, 22), "0 files may be open; r");
}

}  // namespace
}  // namespace cqrs
