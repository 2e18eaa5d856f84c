#include "broker/login.hpp"

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/ssl_socket.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#endif
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "broker/dial.hpp"
#include "broker/wire.hpp"

namespace cqrs::broker {

namespace {

// rabbitmq-c loads no CA by itself: an amqps:// connection would always fail.
std::string system_ca_bundle() {
    if (const char* file = std::getenv("SSL_CERT_FILE"); file && *file) return file;
    for (const char* file :
         {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
          "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"})
        if (access(file, R_OK) == 0) return file;
    throw Error(0,
                "no bundle of CA certificates found for amqps://: install ca-certificates or set "
                "RABBITMQ_CACERT");
}

// Why there is no TLS: rabbitmq-c says only which step failed.
[[noreturn]] void no_tls(const Address& address, int status, const std::string& bundle) {
    const char* reason = ERR_reason_error_string(ERR_peek_last_error());
    std::string what;
    switch (status) {
        case AMQP_STATUS_SSL_PEER_VERIFY_FAILED:
            what = "the broker's certificate is not of an authority in " + bundle +
                   ", or not valid now (check RABBITMQ_CACERT)";
            break;
        case AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED:
            what = "the broker's certificate is for another name than " + address.host +
                   " (IP addresses are not compared: use the name)";
            break;
        default:
            what = fmt::format("{} (does the broker speak TLS on this port? Usual is 5671)",
                               reason ? reason : amqp_error_string2(status));
    }
    throw Error(0, address.name() + ": cannot connect: TLS: " + what);
}

void open_tls(amqp_connection_state_t c, const Address& address, const std::string& cacert,
              std::chrono::milliseconds timeout, Breaker& breaker) {
    amqp_socket_t* socket = amqp_ssl_socket_new(c);
    if (!socket) throw Error(0, address.name() + ": out of memory");
    const std::string bundle = cacert.empty() ? system_ca_bundle() : cacert;
    if (amqp_ssl_socket_set_cacert(socket, bundle.c_str()) != AMQP_STATUS_OK)
        throw Error(
            0,
            fmt::format("{}: cannot connect: TLS: cannot read CA certificates from {}: {} "
                        "(check RABBITMQ_CACERT)",
                        address.name(), bundle,
                        access(bundle.c_str(), R_OK) != 0 ? std::generic_category().message(errno)
                                                          : "it holds none in PEM format"));
    amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST);
    ERR_clear_error();
    const timeval limit = to_timeval(timeout);
    const int status = amqp_socket_open_noblock(socket, address.host.c_str(), address.port, &limit);
    if (status == AMQP_STATUS_OK) return;
    if (status <= AMQP_STATUS_SSL_ERROR) no_tls(address, status, bundle);
    const int fd = dial(address, timeout, breaker);  // throws with the reason, unless it was TLS
    breaker.attach(-1);
    ::close(fd);
    no_tls(address, status, bundle);
}

}  // namespace

timeval to_timeval(std::chrono::milliseconds t) {
    return {static_cast<time_t>(t.count() / 1000),
            static_cast<suseconds_t>(t.count() % 1000 * 1000)};
}

void open_socket(amqp_connection_state_t c, const Address& address, const std::string& cacert,
                 std::chrono::milliseconds timeout, Breaker& breaker) {
    if (address.tls) {
        open_tls(c, address, cacert, timeout, breaker);
        breaker.attach(amqp_get_sockfd(c));
    } else {
        amqp_socket_t* socket = amqp_tcp_socket_new(c);
        if (!socket) throw Error(0, address.name() + ": out of memory");
        amqp_tcp_socket_set_sockfd(socket, dial(address, timeout, breaker));
    }
    const int fd = amqp_get_sockfd(c);
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    // A peer that vanished is noticed by TCP too, not only by heartbeats.
    const unsigned user_timeout = static_cast<unsigned>(address.heartbeat) * 2000;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
}

void login(amqp_connection_state_t c, const Address& address, const std::string& name) {
    const std::string product = "cqrs-replicator";
    wire::Table capabilities;
    for (const char* capability :
         {"publisher_confirms", "consumer_cancel_notify", "connection.blocked", "basic.nack",
          "authentication_failure_close"})
        capabilities.add(capability, true);
    wire::Table properties;
    properties.add("connection_name", name);
    properties.add("product", product);
    properties.add("capabilities", capabilities);
    const amqp_table_t table = properties.table();
    const auto reply = amqp_login_with_properties(
        c, address.vhost.c_str(), 1, AMQP_DEFAULT_FRAME_SIZE, address.heartbeat, &table,
        AMQP_SASL_METHOD_PLAIN, address.user.c_str(), address.password.c_str());
    if (reply.reply_type == AMQP_RESPONSE_NORMAL) return;
    std::string what = address.name() + ": login as \"" + address.user + "\" to virtual host \"" +
                       address.vhost + "\": ";
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
        reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const auto* m = static_cast<amqp_connection_close_t*>(reply.reply.decoded);
        const char* check = m->reply_code == AMQP_ACCESS_REFUSED
                                ? " (check user and password in the broker URL; the broker admits "
                                  "guest from its own host only)"
                                : "";
        throw Error(m->reply_code, what + wire::to_string(m->reply_text) + check);
    }
    if (reply.reply_type != AMQP_RESPONSE_LIBRARY_EXCEPTION)
        throw Error(0, what + "unexpected answer");
    const bool silent = reply.library_error == AMQP_STATUS_TIMEOUT;
    throw Error(0,
                what + amqp_error_string2(reply.library_error) +
                    (silent ? " (the port is open, but nothing answers: does the broker hang, or "
                              "speak TLS there?)"
                            : " (does the broker speak AMQP 0-9-1 on this port, with TLS only for "
                              "amqps://?)"));
}

}  // namespace cqrs::broker
