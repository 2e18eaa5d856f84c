#include "apply/notify.hpp"

#include "apply/copy_text.hpp"

namespace cqrs::apply {

namespace {

constexpr const char* statement = "cqrs_notify";
constexpr std::size_t channel_limit = 63;    // NAMEDATALEN - 1
constexpr std::size_t payload_limit = 8000;  // NOTIFY refuses 8,000 bytes and more
constexpr std::size_t statement_limit = 256 * 1024;

void append_element(std::string& array, std::string_view value) {
    array += array.empty() ? '{' : ',';
    append_array_element(array, value);
}

// send(channels, payloads): two arrays.
template <typename Send>
void in_statements(std::span<const Event* const> events, Send send) {
    std::string channels, payloads;
    const auto flush = [&] {
        if (channels.empty()) return;
        send(channels + "}", payloads + "}");
        channels.clear();
        payloads.clear();
    };
    for (const Event* e : events) {
        if (e->notify.empty() || e->type.size() > channel_limit) continue;
        append_element(channels, e->type);
        append_element(payloads, e->notify.size() < payload_limit ? e->notify : e->id);
        if (payloads.size() > statement_limit) flush();
    }
    flush();
}

}  // namespace

void prepare_notify(postgres::Connection& connection) {
    connection.prepare(
        statement,
        "SELECT count(pg_catalog.pg_notify(c, p)) FROM unnest($1::text[], $2::text[]) AS n(c, p)");
}

void notify_events(postgres::Connection& connection, std::span<const Event* const> events) {
    in_statements(events, [&](const std::string& channels, const std::string& payloads) {
        connection.execute(statement, {channels, payloads});
    });
}

std::vector<postgres::Step> notify_steps(std::span<const Event* const> events) {
    std::vector<postgres::Step> steps;
    in_statements(events, [&](const std::string& channels, const std::string& payloads) {
        steps.push_back({statement, {channels, payloads}});
    });
    return steps;
}

}  // namespace cqrs::apply
