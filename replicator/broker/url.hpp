// amqp:// and amqps:// URLs, as users write them for other clients.
#pragma once

#include <string>
#include <vector>

namespace cqrs::broker {

struct Address {
    std::string host = "localhost";
    int port = 5672;
    std::string user = "guest", password = "guest";
    std::string vhost = "/";
    bool tls = false;
    int heartbeat = 10;  // seconds; `?heartbeat=` overrides it

    std::string name() const;  // "host:port", for logs
};

// Comma-separated URLs. No path and an empty one ("amqp://h/") both mean the virtual host "/": that
// is what most clients do, although rabbitmq-c reads the second as a virtual host without a name.
// Throws std::invalid_argument; the text never repeats the URL, which holds the password.
std::vector<Address> parse_urls(const std::string& urls);

}  // namespace cqrs::broker
