#include "admin/findings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace cqrs {
namespace {

const char* word(Findings::Level level) {
    switch (level) {
        case Findings::Level::ok:
            return "OK";
        case Findings::Level::note:
            return "NOTE";
        case Findings::Level::warn:
            return "WARN";
        default:
            return "FAIL";
    }
}

}  // namespace

bool Findings::failed() const {
    return std::any_of(findings_.begin(), findings_.end(),
                       [](const Finding& f) { return f.level == Level::fail; });
}

std::string Findings::text() const {
    std::string out;
    for (const auto& finding : findings_) {
        out += fmt::format("{:<5} {}: {}\n", word(finding.level), side_, finding.what);
        std::istringstream mend(finding.mend);
        for (std::string line; std::getline(mend, line);) out += "        " + line + "\n";
    }
    return out;
}

}  // namespace cqrs
