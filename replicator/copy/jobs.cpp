#include "copy/jobs.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "copy/ends.hpp"
#include "copy/pump.hpp"

namespace cqrs::copy {

namespace {

using namespace std::chrono_literals;
using postgres::Connection;
using postgres::Error;
using postgres::Remedy;
using State = TableProgress::State;

constexpr int tries = 5;  // of a piece, under one snapshot

// What there is to do, and how it ended. Thread-safe.
class Work {
  public:
    struct Task {
        NewTable* table;
        const Piece* piece;
    };

    explicit Work(const std::vector<NewTable*>& tables) {
        // The largest first: the end is not one job's alone.
        std::vector<NewTable*> order = tables;
        std::stable_sort(order.begin(), order.end(), [](const NewTable* a, const NewTable* b) {
            return a->blocks > b->blocks;
        });
        for (NewTable* t : order) {
            if (t->finished) continue;
            for (const Piece& p : t->pieces) tasks_.push_back({t, &p});
            left_[t] = t->pieces.size();
            sources_ += (sources_.empty() ? "" : ", ") + t->source;
        }
    }
    const std::string& sources() const { return sources_; }
    std::size_t size() const { return tasks_.size(); }

    std::optional<Task> next() {
        const std::lock_guard lock(mutex_);
        if (failure_ || tasks_.empty()) return std::nullopt;
        const Task task = tasks_.front();
        tasks_.pop_front();
        return task;
    }
    // True: it was the table's last piece.
    bool done(const Task& task) {
        const std::lock_guard lock(mutex_);
        return --left_[task.table] == 0;
    }
    void fail(std::exception_ptr failure) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = failure;
    }
    bool failed() {
        const std::lock_guard lock(mutex_);
        return failure_ != nullptr;
    }
    void rethrow() {
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    std::string sources_;  // for LOCK TABLE
    std::mutex mutex_;
    std::deque<Task> tasks_;
    std::map<NewTable*, std::size_t> left_;
    std::exception_ptr failure_;
};

class Job {
  public:
    Job(const Settings& settings, const apply::ExportedSnapshot& snapshot, Work& work,
        const Stop& stop)
        : settings_(settings), snapshot_(snapshot), work_(work), stop_(stop) {
        thread_ = std::thread([this] { run(); });
    }
    ~Job() { thread_.join(); }
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;

    bool ended() const { return ended_; }
    // Breaks off whatever it waits for.
    void cancel() {
        const std::lock_guard lock(mutex_);
        for (auto& canceller : cancellers_) canceller.cancel();
    }

  private:
    void run() {
        try {
            while (const auto task = work_.next()) {
                persist(*task->table, "copying", [&](bool again) { copy(*task, again); });
                if (!work_.done(*task)) continue;
                task->table->progress->set(State::indexing);
                persist(*task->table, "building the indexes of",
                        [&](bool) { finish(*task->table); });
                task->table->progress->set(State::done);
                task->table->finished = true;
                spdlog::info("copy: {} is whole", task->table->prefix);
            }
        } catch (...) {
            work_.fail(std::current_exception());
        }
        ended_ = true;
    }

    // Through lost connections, while the snapshot lives.
    template <typename Step>
    void persist(const NewTable& table, const char* doing, Step step) {
        Backoff backoff;
        for (int n = 1;; ++n) {
            try {
                if (!primary_ || !replica_) connect();
                return step(n > 1);
            } catch (const Error& e) {
                disconnect();
                if (stop_.requested() || work_.failed() || e.remedy() == Remedy::stop || n == tries)
                    throw;
                spdlog::warn("copy: {} {}: {}; trying again", doing, table.prefix, e.what());
                stop_.wait_for(backoff.next());
            }
        }
    }

    void connect() {
        primary_.emplace(open_reader(snapshot_, settings_.database_url));
        // The lock that the coordinator holds as well: a COPY that waits for one behind somebody
        // who waits for the coordinator would wait for ever.
        primary_->exec("SET LOCAL lock_timeout = '10s'");
        primary_->exec("LOCK TABLE " + work_.sources() + " IN ACCESS SHARE MODE");
        primary_->exec("SET LOCAL lock_timeout = 0");
        replica_.emplace(open_writer(settings_.replica_database_url));
        const std::lock_guard lock(mutex_);
        cancellers_.clear();
        cancellers_.emplace_back(*primary_);
        cancellers_.emplace_back(*replica_);
    }

    void disconnect() {
        const std::lock_guard lock(mutex_);
        cancellers_.clear();
        primary_.reset();
        replica_.reset();
    }

    void copy(const Work::Task& task, bool again) {
        const NewTable& table = *task.table;
        const std::string number = std::to_string(task.piece->number);
        replica_->exec("BEGIN");
        // The connection may have been lost during COMMIT.
        if (again && replica_
                         ->query("SELECT $2::int = ANY (pieces) FROM cqrs.copy_state WHERE prefix "
                                 "= $1",
                                 {table.prefix, number})
                         .get_bool(0, 0)) {
            replica_->exec("ROLLBACK");
            return;
        }
        primary_->copy_out_begin(
            copy_out_sql(table.list, task.piece->source, !task.piece->ordinary, task.piece->where));
        replica_->copy_begin(copy_in_sql(table.list, table.definition.staging()));
        pump(*primary_, *replica_, *table.progress, [this] {
            if (stop_.requested() || work_.failed()) throw stopped();
        });
        if (replica_
                ->query("UPDATE cqrs.copy_state SET pieces = pieces || $2::int WHERE prefix = $1",
                        {table.prefix, number})
                .affected() != 1)
            throw Error(Remedy::stop, "",
                        fmt::format("the row of {} in cqrs.copy_state is gone: was the replica "
                                    "removed meanwhile?",
                                    table.prefix));
        replica_->commit();
    }

    void finish(NewTable& table) {
        const std::string staging = table.definition.staging();
        replica_->exec("BEGIN");
        for (const Definition::Step& step : table.definition.after) {
            const std::string sql = on_table(step.sql, staging);
            if (step.key) {
                replica_->exec(sql);
                continue;
            }
            replica_->exec("SAVEPOINT step");
            try {
                replica_->exec(sql);
            } catch (const Error& e) {
                if (e.remedy() != Remedy::stop || !replica_->ok()) throw;
                spdlog::warn("copy: {}: {} is not made: {}", table.prefix, step.what, e.what());
                replica_->exec("ROLLBACK TO step");
            }
        }
        replica_->exec("ANALYZE " + staging);
        replica_->query("UPDATE cqrs.copy_state SET finished = true WHERE prefix = $1",
                        {table.prefix});
        replica_->commit();
    }

    const Settings& settings_;
    const apply::ExportedSnapshot& snapshot_;
    Work& work_;
    const Stop& stop_;
    std::mutex mutex_;  // guards what cancel() reaches
    std::vector<postgres::Canceller> cancellers_;
    std::optional<Connection> primary_, replica_;
    std::atomic<bool> ended_{false};
    std::thread thread_;
};

}  // namespace

void run_jobs(const Settings& settings, const apply::ExportedSnapshot& snapshot,
              const std::vector<NewTable*>& tables, const Stop& stop) {
    Work work(tables);
    {
        std::deque<Job> jobs;
        for (std::size_t i = 0; i < std::min(settings.jobs, work.size()); ++i)
            jobs.emplace_back(settings, snapshot, work, stop);
        const auto ended = [&] {
            return std::all_of(jobs.begin(), jobs.end(), [](const Job& j) { return j.ended(); });
        };
        while (!ended()) {
            if (!stop.wait_for(100ms)) continue;
            for (Job& job : jobs) job.cancel();
            std::this_thread::sleep_for(50ms);  // stop is requested: wait_for() does not wait
        }
    }
    if (stop.requested()) throw stopped();
    work.rethrow();
}

}  // namespace cqrs::copy
