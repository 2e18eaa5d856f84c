// rabbitmq-c, RAII: the only place that owns an amqp_connection_state_t. One channel (1) per
// connection, one thread per connection; only a Breaker may be used from another thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "broker/breaker.hpp"

namespace cqrs::broker {

// Connection or channel is unusable: build a new Connection. code is AMQP's reply code (404, 406,
// 320 ...), 0 when the socket failed. The text never carries the password.
class Error : public std::runtime_error {
  public:
    Error(int code, const std::string& message) : std::runtime_error(message), code_(code) {}
    int code() const noexcept { return code_; }

  private:
    int code_;
};

// The connection was well, and this one request got no answer in time: a queue that hangs, or a
// broker that does. The connection is unusable.
class NoAnswer : public Error {
  public:
    explicit NoAnswer(const std::string& message) : Error(0, message) {}
};

struct Timestamp {
    std::uint64_t seconds;  // since 1970
    bool operator==(const Timestamp&) const = default;
};
using HeaderValue =
    std::variant<bool, std::int64_t, std::string, std::vector<std::string>, Timestamp>;
using Headers = std::map<std::string, HeaderValue, std::less<>>;

struct Properties {
    std::string content_type;
    std::string content_encoding;  // "": as it is
    std::string message_id;        // at most 255 bytes
    std::uint64_t timestamp = 0;   // seconds since 1970; 0: none
    bool persistent = true;
    Headers headers;  // a vector<string> becomes an array of longstr (CC)
};

struct Delivery {
    std::uint64_t tag = 0;
    bool redelivered = false;
    std::string exchange, routing_key;
    Properties properties;  // header values of other types than HeaderValue's are left out
    std::string body;
};

// What drain() saw on a publishing connection.
struct Confirm {
    std::uint64_t tag;
    bool multiple;
    bool ack;  // false: nack, the broker refused it
};
struct Returned {  // mandatory and unroutable; its ack follows
    int code;
    std::string routing_key, message_id;
};
struct Blocked {
    bool blocked;  // connection.blocked / unblocked
    std::string reason;
};
struct Cancelled {  // basic.cancel: the queue went away under the consumer
    std::string consumer_tag;
};
using BrokerEvent = std::variant<Confirm, Returned, Blocked, Cancelled, Delivery>;

struct QueueOptions {
    bool durable = true;
    bool exclusive = false;
    bool auto_delete = false;
    bool passive = false;
    Headers arguments;  // x-queue-type ...
};
struct QueueInfo {
    std::uint32_t messages = 0, consumers = 0;
};

class Connection {
  public:
    // urls: comma-separated amqp:// or amqps:// URLs, tried in turn. heartbeat 10 s, announces
    // publisher_confirms, consumer_cancel_notify, connection.blocked, basic.nack. Throws Error.
    static Connection open(const std::string& urls, const std::string& cacert,
                           const std::string& name,
                           std::chrono::milliseconds timeout = std::chrono::seconds(10),
                           std::shared_ptr<Breaker> breaker = std::make_shared<Breaker>());
    Connection(Connection&&) noexcept;
    Connection& operator=(Connection&&) noexcept;
    ~Connection();

    // Declares durable topic exchanges; falls back to a passive declare on 403.
    void declare_exchanges();  // of events and heartbeats
    void declare_exchange(const std::string& name);
    // 406 (declared with other arguments) throws Error{406}: the channel is reopened, the
    // connection stays usable.
    QueueInfo declare_queue(const std::string& name, const QueueOptions& options);
    void bind_queue(const std::string& queue, const std::string& exchange, const std::string& key);
    void unbind_queue(const std::string& queue, const std::string& exchange,
                      const std::string& key);
    void unbind_exchange(const std::string& destination, const std::string& source,
                         const std::string& key);
    void delete_queue(const std::string& name);
    void purge_queue(const std::string& name);

    void confirm_select();  // publishes are numbered 1, 2, ... from here
    // Blocks while the socket is full; always drain() first. Returns the delivery tag.
    std::uint64_t publish(const std::string& exchange, const std::string& routing_key,
                          bool mandatory, const Properties& properties, std::string_view body);
    bool writable(std::chrono::milliseconds timeout) const;  // poll(POLLOUT)

    // arguments: x-stream-offset ...
    std::string consume(const std::string& queue, int prefetch, bool no_ack = false,
                        bool exclusive = false, const Headers& arguments = {});
    void ack(std::uint64_t tag, bool multiple);
    // The body of the queue's first message, if it has one; the message returns to the queue when
    // the connection closes.
    std::optional<std::string> peek(const std::string& queue);

    // Waits at most `timeout` for one frame's worth and returns it; nullopt: nothing came. Sends
    // and checks heartbeats. {0}: only what has arrived. Throws Error on channel.close,
    // connection.close and socket failure.
    std::optional<BrokerEvent> next(std::chrono::milliseconds timeout);

    int socket() const noexcept;
    bool buffered() const noexcept;  // a frame is in memory already: do not poll() the socket
    std::shared_ptr<Breaker> breaker() const noexcept;
    void close() noexcept;     // orderly; a broker that hangs costs 300 ms
    std::string host() const;  // "host:port", for logs

  private:
    struct State;
    explicit Connection(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace cqrs::broker
