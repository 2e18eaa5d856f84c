// How far copies have come: a bar on a terminal, lines otherwise, cqrs.copy_progress and /metrics.
// One thread and one connection to the replica while something is being copied.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "admin/metrics.hpp"
#include "config.hpp"
#include "postgres/connection.hpp"
#include "stop.hpp"

namespace cqrs::copy {

// One table's figures. Whoever copies counts; the reporter reads.
class TableProgress {
  public:
    enum class State { copying, indexing, done, failed };

    TableProgress(std::string prefix, std::string relation, std::int64_t rows_expected)
        : prefix_(std::move(prefix)),
          relation_(std::move(relation)),
          rows_expected_(rows_expected) {}

    void count(std::int64_t rows, std::int64_t bytes) noexcept {
        rows_ += rows;
        bytes_ += bytes;
    }
    void set(State state) noexcept {
        if (state == State::done || state == State::failed) ended_ = milliseconds();
        state_ = state;
    }

  private:
    friend class Progress;
    friend struct Figures;
    const std::string prefix_, relation_;
    const std::int64_t rows_expected_;  // 0: unknown
    std::atomic<std::int64_t> rows_{0}, bytes_{0};
    std::atomic<State> state_{State::copying};
    static std::int64_t milliseconds() noexcept {
        return std::chrono::duration_cast<std::chrono::milliseconds>(
                   std::chrono::steady_clock::now().time_since_epoch())
            .count();
    }
    const std::int64_t started_ = milliseconds();
    std::atomic<std::int64_t> ended_{0};  // 0: not yet
};

// What is shown of a table, or of all together.
struct Figures {
    std::string prefix, relation;
    TableProgress::State state = TableProgress::State::copying;
    std::int64_t rows = 0, rows_expected = 0, bytes = 0;
    double seconds = 0;  // that it took, or has taken so far

    static Figures of(const TableProgress& table);
    std::int64_t rows_per_second() const;
    std::optional<std::int64_t> seconds_left() const;
    // "orders  1,200,000 rows of about 10,000,000 (12 %), 130.1 MB, 240,000 rows/s, 37 s left"
    std::string line() const;
    std::string bar(std::size_t width) const;  // the same with a bar
};

class Progress {
  public:
    // bar: draw on the terminal of stderr, if it is one.
    Progress(const Settings& settings, Metrics& metrics, bool bar);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    std::shared_ptr<TableProgress> add(const std::string& prefix, const std::string& relation,
                                       std::int64_t rows_expected);

  private:
    void run();
    void report(bool last);
    void draw(const std::vector<Figures>& all);
    void say(const std::vector<Figures>& all);
    void store(const std::vector<Figures>& all);
    void measure(const std::vector<Figures>& all);

    const Settings& settings_;
    Metrics& metrics_;
    const bool terminal_;
    std::size_t drawn_ = 0;  // lines on the terminal
    std::chrono::steady_clock::time_point said_ = std::chrono::steady_clock::now(), stored_{};
    bool refused_ = false;  // the role may not write cqrs.copy_progress: said once

    std::mutex mutex_;
    std::vector<std::shared_ptr<TableProgress>> tables_;
    std::optional<postgres::Connection> connection_;
    Stop stop_;
    std::thread thread_;
};

}  // namespace cqrs::copy
