#include <fmt/format.h>

#include <algorithm>

#include "admin/doctor_checks.hpp"
#include "broker/connection.hpp"
#include "broker/names.hpp"
#include "broker/probe.hpp"
#include "broker/replica_queue.hpp"

namespace cqrs {
namespace {

constexpr int not_found = 404, precondition_failed = 406, refused = 403;

void check_exchanges(broker::Connection& connection, Findings& findings) {
    try {
        connection.declare_exchanges();
        findings.ok(fmt::format("exchanges {} and {} are durable topic exchanges",
                                broker::event_exchange, broker::heartbeat_exchange));
    } catch (const broker::Error& e) {
        if (e.code() == precondition_failed) {
            findings.fail(fmt::format("an exchange is there with another type: {}", e.what()),
                          "rabbitmqadmin delete exchange name=CQRS_EVENT_STORE   -- the relay "
                          "declares it again");
        } else if (e.code() == not_found) {
            findings.fail(
                fmt::format("an exchange is missing and this user may not make it: {}", e.what()),
                "Start the relay first; its user needs configure and write on\n"
                "^(CQRS_EVENT_STORE|CQRS_HEARTBEAT)$");
        } else {
            throw;
        }
    }
}

// Without it everything works but cqrs.replica: neither relay nor applier stops for it.
void check_report_exchange(broker::Connection& connection, Findings& findings) {
    try {
        connection.declare_exchange(broker::report_exchange);
        findings.ok(
            fmt::format("exchange {}, by which replicas report, is a durable topic exchange",
                        broker::report_exchange));
    } catch (const broker::Error& e) {
        if (e.code() != precondition_failed && e.code() != not_found && e.code() != refused) throw;
        findings.warn(fmt::format("replicas cannot report where they are: {}", e.what()),
                      fmt::format("Start the relay, which declares {}; its user needs configure, "
                                  "write and read on it",
                                  broker::report_exchange));
    }
}

void check_alarm(broker::Connection& connection, Findings& findings) {
    using enum broker::Probe::Answer;
    const auto probe = broker::probe_publishing(connection, std::chrono::seconds(2));
    switch (probe.answer) {
        case confirmed:
            return findings.ok("publishing is confirmed, no alarm");
        case blocked:
            return findings.fail("an alarm blocks publishers: " + probe.reason,
                                 "rabbitmq-diagnostics alarms   -- free disk or memory on the "
                                 "broker; the relay goes on by itself");
        case refused:
            return findings.note(
                "this user may not publish heartbeats (an applier need not): alarms were not "
                "checked");
        case missing:
            return;  // said with the exchanges
        case none:
            return findings.fail("a publish was not confirmed within 2 s",
                                 "rabbitmq-diagnostics status");
    }
}

// Which of both the user is meant for is not known here; it must be good for one.
void check_event_rights(broker::Connection& connection, const std::vector<std::string>& queues,
                        Findings& findings) {
    const std::string write = fmt::format("write on {}", broker::event_exchange);
    const bool publishes = broker::may_publish_events(connection);
    const auto deaf = std::find_if(queues.begin(), queues.end(), [&](const std::string& queue) {
        return !broker::may_receive_events(connection, queue);
    });
    const bool receives = deaf == queues.end();
    const std::string read =
        receives ? "" : fmt::format("write on {} and read on {}", *deaf, broker::event_exchange);
    if (publishes)
        findings.ok("this user may publish events");
    else if (receives)
        findings.note("this user may not publish events (an applier need not); the relay's needs " +
                      write);
    if (receives) return;
    if (publishes)
        findings.note(
            "this user may not receive events (the relay need not); the applier's needs " + read);
    else
        findings.fail("this user may neither publish events nor receive them",
                      fmt::format("rabbitmqctl set_permissions ...   -- README, \"Rights\": the "
                                  "relay's needs {}, the applier's {}",
                                  write, read));
}

// Declared again as the applier does: the broker compares the arguments. Only where it is there
// already: making it is the applier's business.
void check_queue_type(broker::Connection& connection, const std::string& name, Findings& findings) {
    try {
        connection.declare_queue(name, broker::replica_queue_options());
        findings.ok(fmt::format("queue {} is a quorum queue with the arguments it needs", name));
    } catch (const broker::Error& e) {
        if (e.code() == refused) {
            findings.note("this user may not declare queue " + name + ": its type was not checked");
            return;
        }
        if (e.code() != precondition_failed) throw;
        findings.fail(fmt::format("queue {} has other arguments: {}", name, e.what()),
                      fmt::format("rabbitmqctl delete_queue {}   -- the applier declares it anew "
                                  "and copies what is missing",
                                  name));
    }
}

void check_queue(broker::Connection& connection, const std::string& name, Findings& findings) {
    broker::QueueOptions options;
    options.passive = true;
    try {
        const auto info = connection.declare_queue(name, options);
        findings.ok(fmt::format("queue {}: {} messages, {} consumers", name, info.messages,
                                info.consumers));
    } catch (const broker::Error& e) {
        if (e.code() == refused) {
            findings.note("this user may not look at queue " + name);
            return;
        }
        if (e.code() != not_found) throw;
        findings.warn("queue " + name + " does not exist yet",
                      "cqrs-replicator apply makes it when a table is subscribed");
        return;
    }
    check_queue_type(connection, name, findings);
}

// Where the relay keeps its last position outside the primary (relay/witness.hpp).
void check_witness(broker::Connection& connection, const std::string& slot, Findings& findings) {
    const std::string name = broker::witness_queue_name(slot);
    broker::QueueOptions options;
    options.passive = true;
    try {
        connection.declare_queue(name, options);
        findings.ok("queue " + name + " keeps the relay's position, to notice a restored primary");
    } catch (const broker::Error& e) {
        if (e.code() == refused)
            findings.note("this user may not look at queue " + name +
                          " (an applier need not); the relay's user needs configure, write and "
                          "read on it, and read on " +
                          broker::heartbeat_exchange);
        else if (e.code() == not_found)
            findings.note("queue " + name +
                          " is not there: the relay makes it at its start, if its user has "
                          "configure, write and read on it");
        else
            throw;
    }
}

}  // namespace

void check_broker(const Settings& settings, Findings& findings, const Discovered& discovered) {
    try {
        auto connection =
            broker::Connection::open(settings.broker_url, settings.broker_cacert,
                                     "cqrs-replicator doctor", std::chrono::seconds(5));
        findings.ok("connected to " + connection.host());
        check_exchanges(connection, findings);
        check_report_exchange(connection, findings);
        std::vector<std::string> queues;
        for (const auto& topic : discovered.topics) {
            const auto name = broker::queue_name(settings.replica, topic);
            check_queue(connection, name, findings);
            queues.push_back(name);  // the right to it is needed before it is there
        }
        check_event_rights(connection, queues, findings);
        check_witness(connection, settings.slot, findings);
        check_alarm(connection, findings);
        findings.note(
            "policies (max-length, TTL) are not visible over AMQP; see\n"
            "        rabbitmqctl list_policies and the README, \"A replica that is "
            "away for long\"");
    } catch (const broker::Error& e) {
        findings.fail(e.what(),
                      "Check RABBITMQ_BROKER_URL (user, password, virtual host), the user's "
                      "rights:\nrabbitmqctl list_user_permissions USER, and "
                      "rabbitmq-diagnostics listeners");
    }
}

}  // namespace cqrs
