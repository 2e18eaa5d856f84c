#include "verify/fence.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <random>

namespace cqrs::verify {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

namespace {

constexpr auto patience = std::chrono::seconds(60);  // for a topic that does not move

std::string token() {
    std::random_device random;
    return fmt::format("{:08x}{:08x}", random(), random());
}

}  // namespace

Fence::Fence(const std::string& replica_url, const std::string& topic)
    : topic_(topic), owner_(token()), connection_(Connection::open(replica_url, "cqrs verify")) {
    // Held as long as this session lives: whose fence stands without it is dead.
    if (!connection_
             .query("SELECT pg_try_advisory_lock(hashtext('pg_cqrs fence'), hashtext($1))", {topic})
             .get_bool(0, 0))
        throw Error(Remedy::retry, "55006", "another verify or rebuild holds topic " + topic_, "",
                    "Wait for it.");
    connection_.query(
        "INSERT INTO cqrs.fence (topic, owner, expires_at) VALUES ($1, $2, clock_timestamp() + "
        "interval '20 s') ON CONFLICT (topic) DO UPDATE SET lsn = '0/0', owner = EXCLUDED.owner, "
        "expires_at = EXCLUDED.expires_at, reached = false",
        {topic_, owner_});
    up_ = true;
    renewer_ = std::thread([this, replica_url] { renew(replica_url); });
    try {
        // Who is about to pass it already finishes first; who comes later sees it.
        connection_.exec("BEGIN");
        connection_.query("SELECT FROM cqrs.position WHERE topic = $1 FOR UPDATE", {topic_});
        connection_.exec("COMMIT");
    } catch (...) {
        stop_.request();
        renewer_.join();
        throw;
    }
}

Fence::~Fence() {
    take_down();
    stop_.request();
    if (renewer_.joinable()) renewer_.join();
}

void Fence::renew(const std::string& replica_url) {
    while (!stop_.wait_for(std::chrono::seconds(5))) {
        try {
            auto connection = Connection::open(replica_url, "cqrs verify");
            connection.query(
                "UPDATE cqrs.fence SET expires_at = clock_timestamp() + interval '20 s' WHERE "
                "topic = $1 AND owner = $2 AND expires_at > clock_timestamp()",
                {topic_, owner_});
        } catch (const std::exception& e) {  // move() notices when it has expired
            spdlog::warn("verify: cannot renew the fence of {}: {}", topic_, e.what());
        }
    }
}

void Fence::move(std::uint64_t lsn, const Stop& stop) {
    const std::string point = postgres::format_lsn(lsn);
    const auto lost = [&] {
        return Error(Remedy::retry, "",
                     fmt::format("the fence of {} at {} did not hold", topic_, point), "",
                     "Try again.");
    };
    if (connection_
            .query("UPDATE cqrs.fence SET lsn = $3, reached = false WHERE topic = $1 AND owner = "
                   "$2 AND expires_at > clock_timestamp()",
                   {topic_, owner_, point})
            .affected() == 0)
        throw lost();
    std::string last;
    auto moved = std::chrono::steady_clock::now();
    while (!stop.requested()) {
        const auto row = connection_.query(
            "SELECT f.reached, p.lsn > f.lsn, coalesce(p.sequence::text, '') || ' ' || p.lsn, "
            "coalesce(p.error, '') FROM cqrs.fence f LEFT JOIN cqrs.position p USING (topic) "
            "WHERE f.topic = $1 AND f.owner = $2 AND f.expires_at > clock_timestamp()",
            {topic_, owner_});
        if (row.rows() == 0 || row.get_bool(0, 1)) throw lost();
        if (row.get_bool(0, 0)) return;
        if (row.get(0, 2) != last) {
            last = row.get(0, 2);
            moved = std::chrono::steady_clock::now();
        } else if (std::chrono::steady_clock::now() - moved > patience) {
            throw Error(
                Remedy::stop, "",
                fmt::format("topic {} does not reach {}: it stands at {}", topic_, point, last),
                std::string(row.get(0, 3)),
                "Do its applier and the relay run? cqrs-replicator status");
        }
        stop.wait_for(std::chrono::milliseconds(50));
    }
    throw Error(Remedy::retry, "57014", "interrupted");
}

void Fence::check(Connection& replica) const {
    if (replica
            .query("SELECT FROM cqrs.fence WHERE topic = $1 AND owner = $2 AND expires_at > "
                   "clock_timestamp() FOR UPDATE",
                   {topic_, owner_})
            .rows() == 0)
        throw Error(Remedy::retry, "", "the fence did not hold: nothing was written", "",
                    "Try again.");
}

void Fence::take_down() noexcept {
    if (!up_) return;
    up_ = false;
    try {
        connection_.query("DELETE FROM cqrs.fence WHERE topic = $1 AND owner = $2",
                          {topic_, owner_});
    } catch (const std::exception& e) {
        spdlog::warn("verify: cannot take down the fence of {} ({}): it expires", topic_, e.what());
    }
}

}  // namespace cqrs::verify
