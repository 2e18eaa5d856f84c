#include "broker/connection.hpp"

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#else
#include <amqp.h>
#endif
#include <poll.h>

#include <algorithm>

#include "broker/login.hpp"
#include "broker/names.hpp"
#include "broker/url.hpp"
#include "broker/wire.hpp"

namespace cqrs::broker {

namespace {

constexpr amqp_channel_t channel = 1;

struct DestroyConnection {
    void operator()(amqp_connection_state_t c) const noexcept { amqp_destroy_connection(c); }
};
using Handle = std::unique_ptr<std::remove_pointer_t<amqp_connection_state_t>, DestroyConnection>;

}  // namespace

struct Connection::State {
    Handle handle;
    std::string host;
    std::shared_ptr<Breaker> breaker;
    int fd = -1;
    bool usable = false;         // the broker has not closed it and the socket has not failed
    std::uint64_t next_tag = 0;  // 0: not in confirm mode

    explicit State(std::shared_ptr<Breaker> b) : breaker(std::move(b)) {}
    ~State() { breaker->attach(-1); }  // before the handle closes it
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    amqp_connection_state_t get() const noexcept { return handle.get(); }

    [[noreturn]] void socket_failed(const std::string& doing, int status) {
        usable = false;
        const std::string what = host + ": " + doing + ": " + amqp_error_string2(status);
        if (status == AMQP_STATUS_TIMEOUT) throw NoAnswer(what);
        throw Error(0, what);
    }

    void reopen_channel() {
        next_tag = 0;
        amqp_channel_open(get(), channel);
        const auto reply = amqp_get_rpc_reply(get());
        if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
            usable = false;
            throw Error(0, host + ": opening a channel failed");
        }
    }

    // The broker closed the channel or the connection: answers it and throws Error.
    [[noreturn]] void closed(const amqp_method_t& method, const std::string& doing, bool reopen) {
        int code = 0;
        std::string text;
        if (method.id == AMQP_CHANNEL_CLOSE_METHOD) {
            const auto* m = static_cast<amqp_channel_close_t*>(method.decoded);
            code = m->reply_code;
            text = wire::to_string(m->reply_text);
            amqp_channel_close_ok_t ok{};
            amqp_send_method(get(), channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
            if (reopen)
                reopen_channel();
            else
                usable = false;
        } else {
            usable = false;
            const auto* m = static_cast<amqp_connection_close_t*>(method.decoded);
            code = m->reply_code;
            text = wire::to_string(m->reply_text);
            amqp_connection_close_ok_t ok{};
            amqp_send_method(get(), 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        }
        throw Error(code, host + ": " + doing + ": " + text);
    }

    // After every synchronous method.
    void check(const std::string& doing) {
        const amqp_rpc_reply_t reply = amqp_get_rpc_reply(get());
        switch (reply.reply_type) {
            case AMQP_RESPONSE_NORMAL:
                amqp_maybe_release_buffers(get());
                return;
            case AMQP_RESPONSE_SERVER_EXCEPTION:
                closed(reply.reply, doing, true);
            case AMQP_RESPONSE_LIBRARY_EXCEPTION:
                socket_failed(doing, reply.library_error);
            default:
                socket_failed(doing, AMQP_STATUS_SOCKET_ERROR);
        }
    }

    BrokerEvent read_return(const amqp_basic_return_t& method) {
        Returned event{method.reply_code, wire::to_string(method.routing_key), {}};
        wire::Message message;
        read_content(message);
        event.message_id = wire::to_properties(message->properties).message_id;
        return event;
    }

    BrokerEvent read_delivery(const amqp_basic_deliver_t& method) {
        Delivery event;
        event.tag = method.delivery_tag;
        event.redelivered = method.redelivered != 0;
        event.exchange = wire::to_string(method.exchange);
        event.routing_key = wire::to_string(method.routing_key);
        wire::Message message;
        read_content(message);
        event.properties = wire::to_properties(message->properties);
        event.body.assign(static_cast<const char*>(message->body.bytes), message->body.len);
        return event;
    }

    void read_content(wire::Message& message) {
        const auto reply = amqp_read_message(get(), channel, message.out(), 0);
        if (reply.reply_type == AMQP_RESPONSE_NORMAL) return message.own();
        if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION)
            closed(reply.reply, "reading a message", false);
        socket_failed("reading a message", reply.library_error);
    }

    // nullopt: a frame that nobody needs to hear of.
    std::optional<BrokerEvent> handle_method(const amqp_method_t& method) {
        switch (method.id) {
            case AMQP_BASIC_ACK_METHOD: {
                const auto* m = static_cast<amqp_basic_ack_t*>(method.decoded);
                return Confirm{m->delivery_tag, m->multiple != 0, true};
            }
            case AMQP_BASIC_NACK_METHOD: {
                const auto* m = static_cast<amqp_basic_nack_t*>(method.decoded);
                return Confirm{m->delivery_tag, m->multiple != 0, false};
            }
            case AMQP_BASIC_RETURN_METHOD:
                return read_return(*static_cast<amqp_basic_return_t*>(method.decoded));
            case AMQP_BASIC_DELIVER_METHOD:
                return read_delivery(*static_cast<amqp_basic_deliver_t*>(method.decoded));
            case AMQP_BASIC_CANCEL_METHOD: {
                const auto* m = static_cast<amqp_basic_cancel_t*>(method.decoded);
                return Cancelled{wire::to_string(m->consumer_tag)};
            }
            case AMQP_CONNECTION_BLOCKED_METHOD: {
                const auto* m = static_cast<amqp_connection_blocked_t*>(method.decoded);
                return Blocked{true, wire::to_string(m->reason)};
            }
            case AMQP_CONNECTION_UNBLOCKED_METHOD:
                return Blocked{false, {}};
            case AMQP_CHANNEL_CLOSE_METHOD:
            case AMQP_CONNECTION_CLOSE_METHOD:
                closed(method, "closed by the broker", false);
            default:
                return std::nullopt;
        }
    }
};

Connection::Connection(std::unique_ptr<State> state) : state_(std::move(state)) {}
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&& other) noexcept {
    if (this != &other) {
        close();
        state_ = std::move(other.state_);
    }
    return *this;
}
Connection::~Connection() {
    close();
}

Connection Connection::open(const std::string& urls, const std::string& cacert,
                            const std::string& name, std::chrono::milliseconds timeout,
                            std::shared_ptr<Breaker> breaker) {
    std::vector<Address> addresses;
    try {
        addresses = parse_urls(urls);
    } catch (const std::invalid_argument& e) {
        throw Error(0, e.what());
    }
    int code = 0;
    std::string failures;
    for (const Address& address : addresses) {
        try {
            auto state = std::make_unique<State>(breaker);
            state->handle.reset(amqp_new_connection());
            if (!state->handle) throw Error(0, "out of memory");
            state->host = address.name();
            const timeval limit = to_timeval(timeout);
            amqp_set_handshake_timeout(state->get(), &limit);
            amqp_set_rpc_timeout(state->get(), &limit);
            open_socket(state->get(), address, cacert, timeout, *breaker);
            state->fd = amqp_get_sockfd(state->get());
            login(state->get(), address, name);
            state->usable = true;
            state->reopen_channel();
            return Connection(std::move(state));
        } catch (const Error& e) {
            if (e.code()) code = e.code();
            failures += (failures.empty() ? "" : "; ") + std::string(e.what());
        }
    }
    throw Error(code, failures);
}

void Connection::declare_exchanges() {
    for (const char* exchange : {event_exchange, heartbeat_exchange}) declare_exchange(exchange);
}

void Connection::declare_exchange(const std::string& name) {
    const std::string doing = "declaring exchange " + name;
    const auto declare = [&](bool passive) {
        amqp_exchange_declare(state_->get(), channel, wire::bytes(name),
                              amqp_cstring_bytes("topic"), passive, true, false, false,
                              amqp_empty_table);
        state_->check(doing);
    };
    try {
        declare(false);
    } catch (const Error& e) {
        if (e.code() != AMQP_ACCESS_REFUSED) throw;
        declare(true);  // no right to create it: somebody else has to have done so
    }
}

QueueInfo Connection::declare_queue(const std::string& name, const QueueOptions& options) {
    const wire::Table arguments(options.arguments);
    const auto* ok = amqp_queue_declare(state_->get(), channel, wire::bytes(name), options.passive,
                                        options.durable, options.exclusive, options.auto_delete,
                                        arguments.table());
    const QueueInfo info = ok ? QueueInfo{ok->message_count, ok->consumer_count} : QueueInfo{};
    state_->check("declaring queue " + name);
    return info;
}

void Connection::bind_queue(const std::string& queue, const std::string& exchange,
                            const std::string& key) {
    amqp_queue_bind(state_->get(), channel, wire::bytes(queue), wire::bytes(exchange),
                    wire::bytes(key), amqp_empty_table);
    state_->check("binding queue " + queue);
}

void Connection::unbind_queue(const std::string& queue, const std::string& exchange,
                              const std::string& key) {
    amqp_queue_unbind(state_->get(), channel, wire::bytes(queue), wire::bytes(exchange),
                      wire::bytes(key), amqp_empty_table);
    state_->check("unbinding queue " + queue);
}

void Connection::unbind_exchange(const std::string& destination, const std::string& source,
                                 const std::string& key) {
    amqp_exchange_unbind(state_->get(), channel, wire::bytes(destination), wire::bytes(source),
                         wire::bytes(key), amqp_empty_table);
    state_->check("unbinding exchange " + destination);
}

void Connection::delete_queue(const std::string& name) {
    amqp_queue_delete(state_->get(), channel, wire::bytes(name), false, false);
    state_->check("deleting queue " + name);
}

void Connection::purge_queue(const std::string& name) {
    amqp_queue_purge(state_->get(), channel, wire::bytes(name));
    state_->check("purging queue " + name);
}

void Connection::confirm_select() {
    amqp_confirm_select(state_->get(), channel);
    state_->check("switching to publisher confirms");
    state_->next_tag = 1;
}

std::uint64_t Connection::publish(const std::string& exchange, const std::string& routing_key,
                                  bool mandatory, const Properties& properties,
                                  std::string_view body) {
    const wire::Table headers(properties.headers);
    const amqp_basic_properties_t raw = wire::from_properties(properties, headers);
    const int status =
        amqp_basic_publish(state_->get(), channel, wire::bytes(exchange), wire::bytes(routing_key),
                           mandatory, false, &raw, wire::bytes(body));
    if (status != AMQP_STATUS_OK) state_->socket_failed("publishing", status);
    return state_->next_tag ? state_->next_tag++ : 0;
}

bool Connection::writable(std::chrono::milliseconds timeout) const {
    pollfd p{state_->fd, POLLOUT, 0};
    return poll(&p, 1, static_cast<int>(timeout.count())) > 0;
}

std::string Connection::consume(const std::string& queue, int prefetch, bool no_ack, bool exclusive,
                                const Headers& arguments) {
    amqp_basic_qos(state_->get(), channel, 0, static_cast<std::uint16_t>(prefetch), false);
    state_->check("setting the prefetch window");
    const wire::Table table(arguments);
    const auto* ok = amqp_basic_consume(state_->get(), channel, wire::bytes(queue),
                                        amqp_empty_bytes, false, no_ack, exclusive, table.table());
    std::string tag = ok ? wire::to_string(ok->consumer_tag) : std::string();
    state_->check("consuming from queue " + queue);
    return tag;
}

void Connection::ack(std::uint64_t tag, bool multiple) {
    const int status = amqp_basic_ack(state_->get(), channel, tag, multiple);
    if (status != AMQP_STATUS_OK) state_->socket_failed("acknowledging", status);
}

std::optional<std::string> Connection::peek(const std::string& queue) {
    const auto reply = amqp_basic_get(state_->get(), channel, wire::bytes(queue), false);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) state_->check("looking at queue " + queue);
    std::optional<std::string> body;
    if (reply.reply.id == AMQP_BASIC_GET_OK_METHOD) {
        wire::Message message;
        state_->read_content(message);
        body.emplace(static_cast<const char*>(message->body.bytes), message->body.len);
    }
    amqp_maybe_release_buffers(state_->get());
    return body;
}

std::optional<BrokerEvent> Connection::next(std::chrono::milliseconds timeout) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        const timeval limit = to_timeval(std::max(
            std::chrono::milliseconds(0), std::chrono::duration_cast<std::chrono::milliseconds>(
                                              deadline - std::chrono::steady_clock::now())));
        amqp_frame_t frame;
        const int status = amqp_simple_wait_frame_noblock(state_->get(), &frame, &limit);
        if (status == AMQP_STATUS_TIMEOUT) return std::nullopt;
        if (status != AMQP_STATUS_OK) state_->socket_failed("reading", status);
        std::optional<BrokerEvent> event;
        if (frame.frame_type == AMQP_FRAME_METHOD)
            event = state_->handle_method(frame.payload.method);
        amqp_maybe_release_buffers(state_->get());
        if (event) return event;
    }
}

int Connection::socket() const noexcept {
    return state_->fd;
}

bool Connection::buffered() const noexcept {
    return amqp_frames_enqueued(state_->get()) || amqp_data_in_buffer(state_->get());
}

std::shared_ptr<Breaker> Connection::breaker() const noexcept {
    return state_->breaker;
}

void Connection::close() noexcept {
    if (!state_ || !state_->handle) return;
    // Sending blocks without a limit when the broker does not read: leave the goodbye out then.
    if (state_->usable && writable(std::chrono::milliseconds(0))) {
        const timeval limit{0, 300'000};
        amqp_set_rpc_timeout(state_->get(), &limit);
        amqp_connection_close(state_->get(), AMQP_REPLY_SUCCESS);
    }
    state_->breaker->attach(-1);
    state_->usable = false;
    state_->fd = -1;
    state_->handle.reset();
}

std::string Connection::host() const {
    return state_->host;
}

}  // namespace cqrs::broker
