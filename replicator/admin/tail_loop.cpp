#include "admin/tail_loop.hpp"

#include <spdlog/spdlog.h>

#include "broker/connection.hpp"

namespace cqrs {

namespace {
constexpr int access_refused = 403;
}  // namespace

int tail_loop(const TailSource& source, const Stop& stop, const Printer& printer) {
    Backoff backoff;
    bool down = false;
    while (!stop.requested() && !printer.done()) {
        try {
            const std::string host = source.connect();
            spdlog::log(down ? spdlog::level::warn : spdlog::level::info, "tail: {} {}{}",
                        source.connected, host, down ? source.again : "");
            down = false;
            backoff.reset();
            source.follow();
        } catch (const broker::Error& e) {
            if (e.code() == access_refused) {
                spdlog::error("tail: {}", e.what());
                return 1;
            }
            if (!down) spdlog::warn("tail: {}; trying again", e.what());
            down = true;
            stop.wait_for(backoff.next());
        }
    }
    return 0;
}

}  // namespace cqrs
