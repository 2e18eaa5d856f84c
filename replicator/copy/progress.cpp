#include "copy/progress.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "admin/status_report.hpp"

namespace cqrs::copy {

namespace {

using namespace std::chrono_literals;
using State = TableProgress::State;

constexpr auto pace = 500ms;      // of the bar
constexpr auto store_every = 2s;  // cqrs.copy_progress
constexpr auto say_every = 10s;   // lines, where there is no terminal
constexpr std::size_t bar_width = 24;

const char* name_of(State state) {
    switch (state) {
        case State::copying:
            return "copying";
        case State::indexing:
            return "indexing";
        case State::done:
            return "done";
        default:
            return "failed";
    }
}

std::string grouped(std::int64_t n) {
    std::string out = std::to_string(n);
    for (std::size_t at = out.size(); at > 3;) out.insert(at -= 3, 1, ',');
    return out;
}

std::string duration(std::int64_t seconds) {
    if (seconds < 120) return fmt::format("{} s", seconds);
    if (seconds < 7200) return fmt::format("{} min", seconds / 60);
    return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
}

// -1: unknown. What is expected is an estimate: 100 % is for what is done.
int percent(const Figures& f) {
    if (f.state == State::done) return 100;
    if (f.rows_expected <= 0) return -1;
    return static_cast<int>(std::min<std::int64_t>(99, f.rows * 100 / f.rows_expected));
}

Figures total(const std::vector<Figures>& all) {
    Figures sum;
    sum.prefix = "in all";
    sum.state = State::done;
    bool known = true;
    for (const Figures& f : all) {
        sum.rows += f.rows;
        sum.bytes += f.bytes;
        sum.seconds = std::max(sum.seconds, f.seconds);
        known = known && (f.rows_expected > 0 || f.state == State::done);
        sum.rows_expected += f.state == State::done ? f.rows : std::max(f.rows, f.rows_expected);
        if (f.state != State::done) sum.state = State::copying;
    }
    if (!known) sum.rows_expected = 0;
    return sum;
}

}  // namespace

Figures Figures::of(const TableProgress& table) {
    Figures f;
    f.prefix = table.prefix_;
    f.relation = table.relation_;
    f.state = table.state_;
    f.rows = table.rows_;
    f.bytes = table.bytes_;
    f.rows_expected = table.rows_expected_;
    const std::int64_t ended = table.ended_;
    f.seconds =
        static_cast<double>((ended ? ended : TableProgress::milliseconds()) - table.started_) /
        1000;
    return f;
}

std::int64_t Figures::rows_per_second() const {
    return seconds < 0.001 ? 0 : static_cast<std::int64_t>(static_cast<double>(rows) / seconds);
}

std::optional<std::int64_t> Figures::seconds_left() const {
    if (state == State::done) return 0;
    if (state != State::copying || rows_expected <= 0 || rows == 0) return std::nullopt;
    const double share = static_cast<double>(std::max<std::int64_t>(0, rows_expected - rows)) /
                         static_cast<double>(rows);
    return static_cast<std::int64_t>(share * seconds);
}

std::string Figures::line() const {
    std::string out = fmt::format("{}: {} rows", prefix, grouped(rows));
    if (state != State::done && rows_expected > 0)
        out += fmt::format(" of about {} ({} %)", grouped(rows_expected), percent(*this));
    out += fmt::format(", {}, {} rows/s", human_bytes(bytes), grouped(rows_per_second()));
    if (state == State::indexing) return out + ", building indexes";
    if (const auto left = seconds_left(); left && state == State::copying)
        out += fmt::format(", {} left", duration(*left));
    return out;
}

std::string Figures::bar(std::size_t width) const {
    const int share = percent(*this);
    const std::size_t full = share < 0 ? 0 : static_cast<std::size_t>(share) * bar_width / 100;
    const std::string name = prefix.size() > width ? prefix.substr(0, width) : prefix;
    return fmt::format("{:<{}} [{}{}] {:>4}  {}", name, width, std::string(full, '#'),
                       std::string(bar_width - full, '.'),
                       share < 0 ? "" : fmt::format("{} %", share),
                       line().substr(prefix.size() + 2));
}

Progress::Progress(const Settings& settings, Metrics& metrics, bool bar)
    : settings_(settings), metrics_(metrics), terminal_(bar && isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
    stop_.request();
    if (thread_.joinable()) thread_.join();
}

std::shared_ptr<TableProgress> Progress::add(const std::string& prefix, const std::string& relation,
                                             std::int64_t rows_expected) {
    auto table = std::make_shared<TableProgress>(prefix, relation, rows_expected);
    const std::lock_guard lock(mutex_);
    // A copy of the same prefix that is over makes room.
    std::erase_if(tables_, [&](const auto& t) { return t->prefix_ == prefix; });
    tables_.push_back(table);
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    return table;
}

void Progress::run() {
    try {
        while (!stop_.wait_for(pace)) report(false);
        report(true);
    } catch (const std::exception& e) {
        spdlog::error("copy: progress is not shown any more: {}", e.what());
    }
}

void Progress::report(bool last) {
    std::vector<Figures> all;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& table : tables_) all.push_back(Figures::of(*table));
    }
    const auto now = std::chrono::steady_clock::now();
    measure(all);
    if (terminal_) draw(all);
    if (!terminal_ && !last && now - said_ >= say_every) {
        said_ = now;
        say(all);
    }
    if (last || now - stored_ >= store_every) {
        stored_ = now;
        store(all);
    }
    // Shown and stored: what is over is not repeated.
    if (terminal_) return;
    const std::lock_guard lock(mutex_);
    for (const Figures& f : all)
        if (stored_ == now && (f.state == State::done || f.state == State::failed))
            std::erase_if(tables_, [&](const auto& t) {
                return t->prefix_ == f.prefix && t->state_ == f.state;
            });
    if (tables_.empty()) connection_.reset();
}

void Progress::draw(const std::vector<Figures>& all) {
    std::string out;
    if (drawn_) out += fmt::format("\x1b[{}A", drawn_);
    std::size_t width = 6;
    for (const Figures& f : all) width = std::clamp(f.prefix.size(), width, std::size_t{30});
    drawn_ = 0;
    const auto put = [&](const Figures& f) {
        out += fmt::format("\r\x1b[K{}\n", f.bar(width));
        ++drawn_;
    };
    for (const Figures& f : all) put(f);
    if (all.size() > 1) put(total(all));
    std::fputs(out.c_str(), stderr);
}

void Progress::say(const std::vector<Figures>& all) {
    std::size_t running = 0;
    for (const Figures& f : all)
        if (f.state == State::copying || f.state == State::indexing) {
            spdlog::info("copy: {}", f.line());
            ++running;
        }
    if (running > 1) spdlog::info("copy: {}", total(all).line());
}

// It only informs: a copy does not fail for it.
void Progress::store(const std::vector<Figures>& all) {
    try {
        if (!connection_ && !all.empty()) {
            connection_.emplace(
                postgres::Connection::open(settings_.replica_database_url, "cqrs copy progress"));
            connection_->exec("SET synchronous_commit = off; SET lock_timeout = '1s'");
        }
        for (const Figures& f : all) {
            const std::string rows = std::to_string(f.rows), bytes = std::to_string(f.bytes),
                              expected = std::to_string(f.rows_expected),
                              rate = std::to_string(f.rows_per_second()),
                              seconds = fmt::format("{:.3f}", f.seconds);
            const auto left = f.seconds_left();
            const std::string left_text = left ? std::to_string(*left) : "";
            connection_->query(
                "INSERT INTO cqrs.copy_progress (prefix, relation, state, rows, rows_expected, "
                "bytes, rows_per_second, seconds_left, started_at, updated_at) VALUES ($1, $2, $3, "
                "$4, nullif($5::bigint, 0), $6, $7, $8, clock_timestamp() - $9 * interval '1 s', "
                "clock_timestamp()) ON CONFLICT (prefix) DO UPDATE SET relation = "
                "EXCLUDED.relation, state = EXCLUDED.state, rows = EXCLUDED.rows, rows_expected = "
                "EXCLUDED.rows_expected, bytes = EXCLUDED.bytes, rows_per_second = "
                "EXCLUDED.rows_per_second, seconds_left = EXCLUDED.seconds_left, started_at = "
                "EXCLUDED.started_at, updated_at = EXCLUDED.updated_at",
                {f.prefix, f.relation, name_of(f.state), rows, expected, bytes, rate,
                 left ? postgres::Param(left_text) : postgres::Param(), seconds});
        }
    } catch (const postgres::Error& e) {
        if (!connection_ || !connection_->ok()) connection_.reset();
        if (!std::exchange(refused_, true))
            spdlog::warn("copy: cqrs.copy_progress of the replica cannot be written: {}", e.what());
    }
}

void Progress::measure(const std::vector<Figures>& all) {
    for (const Figures& f : all) {
        const Metrics::Labels labels{{"prefix", f.prefix}};
        metrics_.gauge("cqrs_copy_rows", "Rows copied so far by a table's copy", labels)
            .Set(static_cast<double>(f.rows));
        metrics_
            .gauge("cqrs_copy_rows_expected", "Rows that a table's copy is about to have", labels)
            .Set(static_cast<double>(f.rows_expected));
        metrics_.gauge("cqrs_copy_bytes", "Bytes copied so far by a table's copy", labels)
            .Set(static_cast<double>(f.bytes));
        metrics_.gauge("cqrs_copy_active", "1 while a table is being copied", labels)
            .Set(f.state == State::copying || f.state == State::indexing ? 1 : 0);
    }
}

}  // namespace cqrs::copy
