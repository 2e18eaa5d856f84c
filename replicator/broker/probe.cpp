#include "broker/probe.hpp"

#include "broker/names.hpp"

namespace cqrs::broker {

namespace {
constexpr int refused = 403, not_found = 404;
constexpr const char* nobodys_key = "doctor";

// Whether `unbind` is refused for want of a right to `name`.
template <typename Unbind>
bool allowed(const std::string& name, Unbind&& unbind) {
    try {
        unbind();
    } catch (const Error& e) {
        if (e.code() == not_found) return true;  // an exchange that is not there yet
        if (e.code() != refused) throw;
        return std::string_view(e.what()).find("'" + name + "'") == std::string_view::npos;
    }
    return true;
}
}  // namespace

Probe probe_publishing(Connection& connection, std::chrono::milliseconds timeout) {
    using enum Probe::Answer;
    try {
        connection.confirm_select();
        Properties transient;
        transient.persistent = false;
        connection.publish(heartbeat_exchange, nobodys_key, false, transient, "{}");
        while (const auto event = connection.next(timeout)) {
            if (const auto* b = std::get_if<Blocked>(&*event); b && b->blocked)
                return {blocked, b->reason};
            if (std::holds_alternative<Confirm>(*event)) return {confirmed, {}};
        }
        return {none, {}};
    } catch (const Error& e) {
        if (e.code() == not_found) return {missing, {}};
        if (e.code() != cqrs::broker::refused) throw;
        return {Probe::Answer::refused, {}};
    }
}

// Write on the one, read on the other, which both relay and applier have.
bool may_publish_events(Connection& connection) {
    return allowed(event_exchange, [&] {
        connection.unbind_exchange(event_exchange, heartbeat_exchange, nobodys_key);
    });
}

// Write on the queue, read on the exchange.
bool may_receive_events(Connection& connection, const std::string& queue) {
    const auto unbind = [&] { connection.unbind_queue(queue, event_exchange, nobodys_key); };
    return allowed(queue, unbind) && allowed(event_exchange, unbind);
}

}  // namespace cqrs::broker
