#include "apply/worker.hpp"

#include <spdlog/spdlog.h>

#include "apply/session.hpp"

namespace cqrs::apply {

Worker::Worker(Context& context, std::string topic)
    : context_(context), topic_(std::move(topic)), thread_([this] { run(); }) {}

Worker::~Worker() {
    request_stop();
    if (thread_.joinable()) thread_.join();
}

void Worker::healthy(bool moved) {
    // A topic that stopped is well again when it moves, not when it is ready to meet the same
    // event.
    if (!moved && !halted_.empty()) return;
    if (!said_.empty()) spdlog::info("apply: {}: works again", topic_);
    said_.clear();
    halted_.clear();
    unsaid_.clear();
    backoff_.reset();
    context_.health.set("apply." + topic_, "");
}

void Worker::unhealthy(const std::string& reason, bool error) {
    context_.health.set("apply." + topic_, reason);
    if (reason == said_) return;
    said_ = reason;
    spdlog::log(error ? spdlog::level::err : spdlog::level::warn, "apply: {}: {}", topic_, reason);
}

void Worker::run() {
    context_.health.set("apply." + topic_, "starting");
    while (!control_.stop.requested()) {
        try {
            session();
        } catch (const std::exception& e) {
            unhealthy(e.what(), true);
            control_.wait(backoff_.next());
        }
    }
    context_.health.remove("apply." + topic_);
    done_ = true;
}

void Worker::session() {
    const auto retry = [&](const std::string& sqlstate) {
        context_.metrics
            .counter("cqrs_apply_retries_total", "Sessions that failed and were tried again",
                     {{"topic", topic_}, {"sqlstate", sqlstate}})
            .Increment();
        if (!control_.stop.requested()) control_.wait(backoff_.next());
    };
    std::string halt;
    control_.take_wake();
    try {
        Session session(context_, control_, topic_, silence_,
                        [this](bool moved) { healthy(moved); });
        session.run();
        return;
    } catch (const Halt& e) {
        halt = e.what();
    } catch (const Restart& e) {
        if (!control_.stop.requested())
            spdlog::info("apply: {}: {}: starting over", topic_, e.what());
        return retry("");
    } catch (const postgres::Error& e) {
        if (control_.stop.requested()) return;
        std::string text = e.what();
        if (!e.context().empty() && e.remedy() == postgres::Remedy::stop)
            text += " (" + e.context() + ")";
        if (!e.hint().empty()) text += ". " + e.hint();
        if (e.remedy() != postgres::Remedy::stop) {
            unhealthy("replica or primary: " + text, false);
            return retry(e.sqlstate());
        }
        halt = (e.sqlstate().empty() ? "" : e.sqlstate() + " ") + text;
    } catch (const broker::Error& e) {
        if (control_.stop.requested()) return;
        unhealthy(std::string("broker: ") + e.what(), false);
        return retry("");
    }
    // Once more with the catalog read anew: a column may have been added meanwhile.
    if (halted_ != halt) {
        halted_ = halt;
        control_.wait(backoff_.next());
        return;
    }
    stopped(halt);
}

// The position says why. Until somebody resets it, changes the subscription, or half a minute
// passed.
void Worker::stopped(const std::string& reason) {
    unhealthy("stopped: " + reason, true);
    constexpr auto retry_after = std::chrono::seconds(30);
    const auto until = std::chrono::steady_clock::now() + retry_after;
    try {
        auto connection = postgres::Connection::open(context_.settings.replica_database_url,
                                                     "cqrs apply " + topic_);
        stop_position(connection, topic_, reason);
        const auto orders = [&] {
            const auto row = connection.query(
                "SELECT coalesce((SELECT state FROM cqrs.position WHERE topic = $1), ''), "
                "coalesce((SELECT string_agg(prefix || ' ' || state, ',' ORDER BY prefix) FROM "
                "cqrs.subscription_state WHERE split_part(prefix, '.', 1) = $1), '')",
                {topic_});
            return std::string(row.get(0, 0)) + " " + std::string(row.get(0, 1));
        };
        const std::string before = orders();
        while (!control_.stop.requested() && !control_.woken() &&
               std::chrono::steady_clock::now() < until) {
            control_.wait(std::chrono::seconds(1));
            if (orders() != before) break;
        }
    } catch (const postgres::Error& e) {
        if (unsaid_ != e.what())
            spdlog::warn("apply: {}: cannot say in cqrs.position why it stopped: {}", topic_,
                         e.what());
        unsaid_ = e.what();
        control_.wait(backoff_.next());
    }
}

}  // namespace cqrs::apply
