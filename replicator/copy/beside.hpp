// Tables that the replica lacks: made from the primary's definition under a name that nobody reads,
// filled by several jobs, and put in place, whole, with their positions, in one transaction a
// topic.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "config.hpp"
#include "copy/progress.hpp"
#include "stop.hpp"

namespace cqrs::copy {

struct Missing {
    std::string topic, prefix;
    std::string source;  // the primary's table, qualified and quoted
};

// The queues of the topics are bound already: what is committed after the copy's point comes
// through them. unbroken: topics whose queue was there before this process; what an earlier process
// finished is kept for those.
//
// Killed anywhere it goes on when called again: finished tables are kept, others start over, under
// a snapshot of their own. Tries again after what may pass, until stop is requested. Throws
// postgres::Error.
void copy_beside(const Settings& settings, const std::vector<Missing>& missing,
                 const std::set<std::string>& unbroken, Progress& progress, const Stop& stop);

}  // namespace cqrs::copy
