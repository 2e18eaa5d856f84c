// Session: a table that has other columns than the primary's, and what its subscription says about
// that.
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

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

// A server seldom names the column of a value that does not fit, or only in its own language. Tried
// one by one, the key's first.
std::string Session::misfit_column(const Event& event) {
    const Table& table = *event.table;
    if (!event.row) return "";
    std::vector<std::uint32_t> columns = table.primary().columns;
    columns.insert(columns.end(), table.writable.begin(), table.writable.end());
    std::string column;
    replica_->exec("BEGIN");
    try {
        for (const std::uint32_t c : columns) {
            const Field& field = event.row[c];
            if (field.is(Field::Kind::absent)) continue;
            column = table.columns[c].name;
            // AS SELECT: the column's type, without NOT NULL, defaults and checks of the table.
            const std::string misfit = "cqrs_misfit_" + std::to_string(c);
            replica_->exec("CREATE TEMP TABLE IF NOT EXISTS " + misfit + " AS SELECT " +
                           table.columns[c].quoted + " FROM " + table.name + " WITH NO DATA");
            replica_->query(
                "INSERT INTO pg_temp." + misfit + " VALUES ($1)",
                {field.is(Field::Kind::value) ? postgres::Param(field.text()) : std::nullopt});
        }
        column.clear();
    } catch (const postgres::Error& e) {
        if (!of_a_value(e)) column.clear();
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
