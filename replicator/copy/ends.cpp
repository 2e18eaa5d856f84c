#include "copy/ends.hpp"

#include <fmt/format.h>

namespace cqrs::copy {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

Error stopped() {
    return {Remedy::retry, "57014", "the copy was interrupted; started again, it goes on"};
}

Connection open_reader(const apply::ExportedSnapshot& snapshot, const std::string& database_url) {
    try {
        return apply::open_at(snapshot, database_url, "cqrs copy");
    } catch (const Error& e) {
        if (e.sqlstate() != "22023" && e.sqlstate() != "42704") throw;
        throw Error(Remedy::retry, e.sqlstate(),
                    fmt::format("the snapshot of the copy is gone: {}", e.what()));
    }
}

Connection open_writer(const std::string& replica_database_url) {
    Connection connection = Connection::open(replica_database_url, "cqrs copy");
    connection.exec(apply::copy_settings);
    // What is told as done is on disk, whatever the server's default is.
    connection.exec("SET synchronous_commit = local");
    return connection;
}

}  // namespace cqrs::copy
