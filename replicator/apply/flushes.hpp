// Which applied events would survive a crash of the replica. Its commits do not wait for the disk;
// what they applied is acknowledged to the broker once it is there. One connection of the replica:
// after a crash the WAL grows past the end of a commit that was lost, so nothing is carried over.
#pragma once

#include <cstdint>
#include <deque>

#include "postgres/connection.hpp"

namespace cqrs::apply {

class Flushes {
  public:
    // Applied up to here by a commit that `end` was read after; or found applied, on a new
    // connection.
    void committed(std::int64_t sequence, const postgres::WalEnd& end) {
        waiting_.push_back({sequence, end.inserted});
        flushed(end.flushed);
    }
    void flushed(std::uint64_t lsn) {
        while (!waiting_.empty() && waiting_.front().lsn <= lsn) {
            safe_ = waiting_.front().sequence;
            waiting_.pop_front();
        }
    }
    // A commit after them waited for the disk.
    void all_flushed() { waiting_.clear(); }

    bool waiting() const { return !waiting_.empty(); }
    // The last sequence on disk; meaningful while others wait.
    std::int64_t safe() const { return safe_; }

  private:
    struct Commit {
        std::int64_t sequence;
        std::uint64_t lsn;
    };
    std::deque<Commit> waiting_;
    std::int64_t safe_ = -1;
};

}  // namespace cqrs::apply
