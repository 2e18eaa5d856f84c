#include "broker/url.hpp"

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#else
#include <amqp.h>
#endif

#include <charconv>
#include <stdexcept>
#include <string_view>

namespace cqrs::broker {

namespace {

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    if (first == text.npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

void parse_query(std::string_view query, Address& address) {
    while (!query.empty()) {
        const auto end = query.find('&');
        const auto pair = query.substr(0, end);
        query = end == query.npos ? std::string_view() : query.substr(end + 1);
        const auto equal = pair.find('=');
        const auto name = pair.substr(0, equal);
        const auto value = equal == pair.npos ? std::string_view() : pair.substr(equal + 1);
        if (name != "heartbeat")
            throw std::invalid_argument("broker URL: parameter \"" + std::string(name) +
                                        "\" is not known; only \"heartbeat\" is");
        auto [rest, error] =
            std::from_chars(value.data(), value.data() + value.size(), address.heartbeat);
        if (error != std::errc() || rest != value.data() + value.size() || address.heartbeat < 1 ||
            address.heartbeat > 600)
            throw std::invalid_argument("broker URL: heartbeat must be 1 to 600 seconds");
    }
}

Address parse_url(std::string_view url) {
    Address address;
    const auto question = url.find('?');
    if (question != url.npos) {
        parse_query(url.substr(question + 1), address);
        url = url.substr(0, question);
    }
    std::string writable(url);  // amqp_parse_url decodes in place and points into it
    amqp_connection_info info;
    if (amqp_parse_url(writable.data(), &info) != AMQP_STATUS_OK)
        throw std::invalid_argument(
            "broker URL: expected amqp://user:password@host:port/vhost or amqps://..., with "
            "special "
            "characters percent-encoded");
    address.host = info.host;
    address.port = info.port;
    address.user = info.user;
    address.password = info.password;
    address.tls = info.ssl != 0;
    if (info.vhost && *info.vhost) address.vhost = info.vhost;
    return address;
}

}  // namespace

std::string Address::name() const {
    const bool v6 = host.find(':') != host.npos;
    return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::vector<Address> parse_urls(const std::string& urls) {
    std::vector<Address> addresses;
    std::string_view rest = urls;
    for (;;) {
        const auto comma = rest.find(',');
        const auto url = trim(rest.substr(0, comma));
        if (!url.empty()) addresses.push_back(parse_url(url));
        if (comma == rest.npos) break;
        rest = rest.substr(comma + 1);
    }
    if (addresses.empty()) throw std::invalid_argument("broker URL is empty");
    return addresses;
}

}  // namespace cqrs::broker
