// Session: a table that has other columns than the primary's, and what its subscription says about
// that.
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apply/copy_text.hpp"
#include "apply/schema.hpp"
#include "apply/session.hpp"

namespace cqrs::apply {

const Table* Session::table_of(const std::string& prefix) const {
    const auto it = std::find_if(tables_.begin(), tables_.end(),
                                 [&](const Table& t) { return t.prefix == prefix; });
    return it == tables_.end() ? nullptr : &*it;
}

// In a transaction of its own, before any copy: readers are not locked out while rows stream.
void Session::follow(const std::string& prefix) {
    const Table* table = table_of(prefix);
    if (!table) return;
    auto primary = postgres::Connection::open(context_.settings.database_url, "cqrs apply");
    replica_->exec("BEGIN");
    const auto done = follow_schema(primary, *replica_, prefix, table->name);
    replica_->commit();
    if (!done.empty())
        spdlog::info("apply: {}: ALTER TABLE {} {}: as on the primary", topic_, table->name,
                     fmt::join(done, ", "));
}

// A server names no column when a value does not fit, except in COPY.
std::string Session::misfit_column(const Event& event) {
    const Table& table = *event.table;
    if (!event.row) return "";
    std::string line, names;
    for (const std::uint32_t c : table.pattern(event.pattern).columns) {
        if (!line.empty()) line += '\t';
        append_copy_field(line, event.row[c]);
        names += (names.empty() ? "" : ", ") + table.columns[c].quoted;
    }
    std::string column;
    replica_->exec("BEGIN");
    try {
        replica_->exec("CREATE TEMP TABLE cqrs_misfit (LIKE " + table.name + ") ON COMMIT DROP");
        replica_->copy_begin("COPY pg_temp.cqrs_misfit (" + names + ") FROM STDIN");
        replica_->copy_put(line + "\n");
        replica_->copy_end();
    } catch (const postgres::Error& e) {
        // "COPY cqrs_misfit, line 1, column c: "abc"" or "..., column c, ..."
        if (const auto at = e.context().find(", column "); at != std::string::npos) {
            column = e.context().substr(at + 9);
            column.resize(std::min(column.find(':'), column.size()));
        }
    }
    replica_->exec("ROLLBACK");
    return column;
}

void Session::adapt(const SchemaDiffers& difference) {
    const Settings& settings = context_.settings;
    const Table* table = table_of(difference.prefix);
    if (!table) throw Restart("the subscriptions changed");
    const std::string statement = difference.column.empty()
                                      ? ""
                                      : add_column_statement(settings.database_url, table->prefix,
                                                             table->name, difference.column);
    if (!table->follow || settings.database_url.empty())
        throw Halt(std::string(difference.what()) + ". On the replica: " + statement +
                   " The applier goes on by itself." +
                   (table->follow ? " Or set DATABASE_URL: it then adds the column itself." : ""));
    follow(table->prefix);
    const auto added = load_table(*replica_, table->oid, table->prefix);
    if (!difference.column.empty() && added.find(difference.column)) return;
    // A value of another type, or of a column that came and went: rows as they are now will do, and
    // the events up to there are in them.
    heal(NeedCopy(difference.what(), {table->prefix}));
}

}  // namespace cqrs::apply
