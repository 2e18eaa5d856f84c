#include "verify/verify.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

#include "apply/exported_snapshot.hpp"
#include "apply/replica.hpp"
#include "verify/compare.hpp"
#include "verify/fence.hpp"

namespace cqrs {

namespace {

using namespace cqrs::verify;
using postgres::Connection;
using postgres::Error;

// Both sides at one point. While `fence` is up the replica stands there.
struct Moment {
    Moment(const Settings& settings, const std::string& topic, const Stop& stop)
        : fence(settings.replica_database_url, topic),
          snapshot(apply::export_snapshot(settings.database_url, stop)),
          primary(apply::open_at(snapshot, settings.database_url, "cqrs verify")) {
        fence.move(snapshot.point, stop);
    }
    Fence fence;
    apply::ExportedSnapshot snapshot;
    Connection primary;
};

const char* word(Difference::Kind kind) {
    switch (kind) {
        case Difference::Kind::missing:
            return "missing";
        case Difference::Kind::extra:
            return "extra";
        default:
            return "different";
    }
}

class Verify {
  public:
    Verify(const Settings& settings, const Stop& stop) : settings_(settings), stop_(stop) {}

    int run() {
        std::map<std::string, std::vector<Pair>> topics;
        {
            auto replica = Connection::open(settings_.replica_database_url, "cqrs verify");
            auto all = load_pairs(replica);
            name_unknown(all);
            for (Pair& pair : all)
                if (wanted(pair)) topics[pair.topic].push_back(std::move(pair));
        }
        if (topics.empty() && settings_.tables.empty()) {
            fmt::print(stderr, "verify: no table is subscribed\n");
            return 1;
        }
        for (auto& [topic, pairs] : topics) {
            try {
                compare_topic(topic, pairs);
            } catch (const Error& e) {
                equal_ = false;
                fmt::print(stderr, "verify: {}: {}{}{}\n", topic, e.what(),
                           e.hint().empty() ? "" : ". ", e.hint());
            }
            if (stop_.requested()) return 1;
        }
        return equal_ ? 0 : 1;
    }

  private:
    static bool names(const std::string& name, const Pair& pair) {
        return name == pair.prefix || name == pair.here || "public." + name == pair.here;
    }

    bool wanted(const Pair& pair) const {
        const auto& tables = settings_.tables;
        return tables.empty() || std::any_of(tables.begin(), tables.end(),
                                             [&](const auto& name) { return names(name, pair); });
    }

    // What is not compared is not equal.
    void name_unknown(const std::vector<Pair>& pairs) {
        for (const std::string& name : settings_.tables) {
            if (std::any_of(pairs.begin(), pairs.end(),
                            [&](const Pair& pair) { return names(name, pair); }))
                continue;
            equal_ = false;
            fmt::print(stderr, "verify: {}: no such table is subscribed\n", name);
        }
    }

    void compare_topic(const std::string& topic, std::vector<Pair>& pairs) {
        std::map<const Pair*, std::vector<Difference>> found;
        {
            std::optional<Moment> moment(std::in_place, settings_, topic, stop_);
            auto replica = Connection::open(settings_.replica_database_url, "cqrs verify");
            replica.exec(apply::copy_settings);
            replica.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
            replica.exec("SELECT FROM cqrs.position");  // takes the snapshot
            moment->fence.take_down();
            for (Pair& pair : pairs) {
                if (!prepare(pair, moment->primary, replica)) continue;
                auto& differences = found[&pair];
                const auto result = compare(pair, moment->primary, replica, [&](const auto& d) {
                    fmt::print("{}: {} {}\n", pair.here, word(d.kind), fmt::join(d.key, ", "));
                    if (settings_.repair) differences.push_back(d);
                });
                fmt::print("{}: {} rows at {}: {}\n", pair.here, result.rows,
                           postgres::format_lsn(moment->snapshot.point),
                           result.all() == 0
                               ? "equal"
                               : fmt::format("{} differ ({} missing, {} extra, {} different)",
                                             result.all(), result.missing, result.extra,
                                             result.different));
                std::fflush(stdout);
                if (result.all() > 0 && !settings_.repair) equal_ = false;
            }
        }
        std::erase_if(found, [](const auto& f) { return f.second.empty(); });
        if (!found.empty()) repair_topic(topic, found);
    }

    // Rows have moved on since: the keys are read again at a fresh point, and written while the
    // topic stands there, so that what comes next in the stream fits.
    void repair_topic(const std::string& topic,
                      const std::map<const Pair*, std::vector<Difference>>& found) {
        Moment moment(settings_, topic, stop_);
        auto replica = apply::open_replica(settings_.replica_database_url, "verify");
        replica.exec("BEGIN");
        for (const auto& [pair, differences] : found) {
            const auto rows = repair(*pair, moment.primary, replica, differences);
            fmt::print("{}: {} keys repaired ({} rows) as of {}\n", pair->here, differences.size(),
                       rows, postgres::format_lsn(moment.snapshot.point));
        }
        moment.fence.check(replica);
        replica.commit();
    }

    // False: there is nothing to compare.
    bool prepare(Pair& pair, Connection& primary, Connection& replica) {
        try {
            load_columns(pair, primary, replica);
        } catch (const Error& e) {
            if (e.remedy() != postgres::Remedy::stop) throw;
            equal_ = false;
            fmt::print(stderr, "verify: {}: {}\n", pair.here, e.what());
            return false;
        }
        if (!pair.there.empty() && pair.live) return true;
        equal_ = false;
        fmt::print(
            stderr, "verify: {}: {}\n", pair.here,
            pair.live ? "the primary publishes no table as " + pair.prefix : "it has no copy yet");
        return false;
    }

    const Settings& settings_;
    const Stop& stop_;
    bool equal_ = true;
};

}  // namespace

int run_verify(const Settings& settings, const Stop& stop) {
    return Verify(settings, stop).run();
}

}  // namespace cqrs
