// The source attribute of this database's events: /<database>/<system identifier>/<timeline>.
#pragma once

#include <string>

namespace cqrs {

// Replaces `source`. Needs a transaction, for the database's name.
void append_default_source(std::string& source);

}  // namespace cqrs
