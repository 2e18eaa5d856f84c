#include "relay/relay.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "relay/handoff.hpp"
#include "relay/notifier.hpp"
#include "relay/publisher.hpp"
#include "relay/replicas.hpp"
#include "relay/source.hpp"

namespace cqrs {

namespace {

// What is read and not confirmed yet.
constexpr std::size_t handoff_bytes = 16 * 1024 * 1024;

std::string describe(const postgres::Error& e) {
    std::string text = e.what();
    if (!e.detail().empty()) text += " (" + e.detail() + ")";
    if (!e.hint().empty()) text += " Hint: " + e.hint();
    // The setting is hidden from a role without pg_read_all_settings: seen only at the slot.
    if (text.find("output_plugin_libraries") != std::string::npos)
        text +=
            " Run ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, pg_cqrs; "
            "(without quotes round the whole) and SELECT pg_reload_conf();";
    return text;
}

// Before anything has worked: a wrong name, password or right. Afterwards the same code may pass.
bool hopeless(const postgres::Error& e, const relay::Source& source) {
    return e.remedy() == postgres::Remedy::stop && !source.streamed() &&
           !e.sqlstate().starts_with("55");
}

}  // namespace

int run_relay(const Settings& settings, Stop& stop, Metrics& metrics, Health& health,
              std::optional<postgres::Connection> primary,
              std::optional<postgres::Connection> walsender) {
    auto& reconnects =
        metrics.counter("cqrs_relay_reconnects_total", "Connections lost or refused, by peer",
                        {{"peer", "primary"}});
    relay::Handoff handoff(handoff_bytes);
    relay::Notifier notifier(settings, metrics, health);
    relay::Publisher publisher(settings, handoff, metrics, health);
    const relay::Replicas replicas(settings);
    relay::Source source(settings, stop, handoff, notifier, metrics, health);
    Backoff backoff;
    std::string trouble;
    while (!stop.requested()) {
        const auto began = relay::Clock::now();
        try {
            source.run(std::exchange(primary, {}), std::exchange(walsender, {}));
        } catch (const relay::Misconfigured& e) {
            spdlog::critical("relay: {}", e.what());
            return 1;
        } catch (const broker::Error& e) {
            if (stop.requested()) break;
            const std::string what = e.what();
            health.set("relay", "waits for the broker: " + what);
            if (what != trouble) spdlog::warn("relay: waits for the broker: {}", what);
            trouble = what;
            stop.wait_for(backoff.next());
        } catch (const postgres::Error& e) {
            const std::string what = describe(e);
            if (hopeless(e, source)) {
                spdlog::critical("relay: primary: {}", what);
                return 1;
            }
            if (stop.requested()) break;
            if (relay::Clock::now() - began > std::chrono::seconds(10)) {
                backoff.reset();
                trouble.clear();
            }
            reconnects.Increment();
            health.set("relay", "primary: " + what);
            if (what != trouble) spdlog::warn("relay: primary: {}; trying again", what);
            trouble = what;
            stop.wait_for(backoff.next());
        }
    }
    spdlog::info("relay: stopped");
    return 0;
}

}  // namespace cqrs
