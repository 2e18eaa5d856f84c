#include "source.hpp"

#include "compat.hpp"
#include "event.hpp"

extern "C" {
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
}

namespace cqrs {

void append_default_source(std::string& source) {
    const char* database = pg_call([] { return get_database_name(MyDatabaseId); });
    source = "/";
    append_percent_encoded(source, database ? database : "");
    source.push_back('/');
    char number[24];
    snprintf(number, sizeof number, UINT64_FORMAT, GetSystemIdentifier());
    source.append(number).push_back('/');
    append_integer(source, current_timeline());
}

}  // namespace cqrs
