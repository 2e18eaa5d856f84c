// Events on stdout, one JSON a line, until the pipe is closed: head -1 behind us is an end, not an
// error.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cqrs {

class Printer {
  public:
    explicit Printer(std::size_t limit) : limit_(limit) {}  // 0: none

    void print(std::string_view event);  // throws std::runtime_error
    void flush();
    bool done() const noexcept { return done_; }

  private:
    void write(const std::string& line);
    void failed();

    std::size_t limit_, printed_ = 0;
    bool done_ = false;
};

}  // namespace cqrs
