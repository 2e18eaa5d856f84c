// What `doctor` found: one line a check, and under it how to mend.
#pragma once

#include <string>
#include <vector>

namespace cqrs {

class Findings {
  public:
    enum class Level { ok, note, warn, fail };
    struct Finding {
        Level level;
        std::string what, mend;
    };

    explicit Findings(std::string side) : side_(std::move(side)) {}

    void ok(std::string what) { add(Level::ok, std::move(what), {}); }
    void note(std::string what) { add(Level::note, std::move(what), {}); }
    void warn(std::string what, std::string mend) {
        add(Level::warn, std::move(what), std::move(mend));
    }
    // mend: exact SQL or a command where there is one.
    void fail(std::string what, std::string mend) {
        add(Level::fail, std::move(what), std::move(mend));
    }
    void check(bool good, const std::string& when_good, const std::string& when_bad,
               const std::string& mend) {
        good ? ok(when_good) : fail(when_bad, mend);
    }

    bool failed() const;
    std::string text() const;

  private:
    void add(Level level, std::string what, std::string mend) {
        findings_.push_back({level, std::move(what), std::move(mend)});
    }

    std::string side_;
    std::vector<Finding> findings_;
};

}  // namespace cqrs
