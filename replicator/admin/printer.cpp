#include "admin/printer.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace cqrs {

void Printer::print(std::string_view event) {
    if (done_) return;
    std::string line(event);
    // Between the tokens of an embedded json value line ends are white space; in strings JSON
    // has none. One event stays one line.
    for (char& c : line) {
        if (c == '\n' || c == '\r') c = ' ';
    }
    line += '\n';
    write(line);
    if (++printed_ == limit_) done_ = true;
}

void Printer::flush() {
    if (std::fflush(stdout) != 0) failed();
}

void Printer::write(const std::string& line) {
    if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size()) failed();
}

void Printer::failed() {
    if (errno != EPIPE) {
        throw std::runtime_error(fmt::format("tail: cannot write: {}", std::strerror(errno)));
    }
    done_ = true;
}

}  // namespace cqrs
