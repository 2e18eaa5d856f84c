#include "apply/notify.hpp"

#include "apply/copy_text.hpp"

namespace cqrs::apply {

namespace {

constexpr std::size_t channel_limit = 63;    // NAMEDATALEN - 1
constexpr std::size_t payload_limit = 8000;  // NOTIFY refuses 8,000 bytes and more
constexpr std::size_t statement_limit = 256 * 1024;

void append_element(std::string& array, std::string_view value) {
    array += array.empty() ? '{' : ',';
    append_array_element(array, value);
}

}  // namespace

void notify_events(postgres::Connection& connection, std::span<const Event* const> events) {
    std::string channels, payloads;
    const auto flush = [&] {
        if (channels.empty()) return;
        connection.query(
            "SELECT count(pg_catalog.pg_notify(c, p)) FROM unnest($1::text[], $2::text[]) AS n(c, "
            "p)",
            {channels + "}", payloads + "}"});
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

}  // namespace cqrs::apply
