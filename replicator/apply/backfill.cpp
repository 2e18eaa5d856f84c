#include "apply/backfill.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apply/exported_snapshot.hpp"

namespace cqrs::apply {
namespace {

using postgres::Connection;
using postgres::Error;
using postgres::Remedy;

constexpr std::size_t chunk_bytes = 4 * 1024 * 1024;

// Row by row what the plugin makes of it: numbers, booleans and JSON as they are, the rest as the
// text that Postgres prints (concat() prints it; a cast would not for character(n)).
constexpr const char* columns_sql = R"(
    WITH RECURSIVE base(attnum, type) AS (
        SELECT attnum, atttypid FROM pg_catalog.pg_attribute
        WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated <> 'v'
        UNION ALL
        SELECT b.attnum, t.typbasetype FROM base b
        JOIN pg_catalog.pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
    )
    SELECT string_agg(CASE WHEN native THEN quote_ident(attname) ELSE format(
               'CASE num_nulls(%1$I) WHEN 0 THEN concat(%1$I) END AS %1$I', attname) END,
               ', ' ORDER BY attnum)
    FROM (SELECT a.attnum, a.attname, bool_or(b.type = ANY (
              '{int2,int4,int8,bool,float4,float8,numeric,json,jsonb}'::regtype[])) AS native
          FROM pg_catalog.pg_attribute a JOIN base b USING (attnum)
          WHERE a.attrelid = $1::regclass GROUP BY 1, 2) c)";

class Backfill {
  public:
    Backfill(Connection& primary, Connection& replica, const Handlers& handlers,
             std::uint64_t point, const Stop& stop)
        : primary_(primary), replica_(replica), handlers_(handlers), stop_(stop) {
        const auto row = primary_.exec(
            "SELECT '/' || current_database() || '/' || (SELECT system_identifier FROM "
            "pg_control_system()) || '/' || (SELECT timeline_id FROM pg_control_checkpoint()), "
            "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
        source_ = row.get(0, 0);
        time_ = row.get(0, 1);
        point_ = postgres::format_lsn(point);
    }

    std::int64_t table(const std::string& prefix, const std::string& relation, bool partitioned,
                       const std::vector<std::size_t>& functions) {
        functions_ = functions;
        event(prefix + ".truncate", {});
        const auto columns = primary_.query(columns_sql, {relation});
        primary_.exec(fmt::format(
            "DECLARE rows NO SCROLL CURSOR FOR SELECT row_to_json(r) FROM (SELECT {} FROM {}{}) r",
            columns.get(0, 0), partitioned ? "" : "ONLY ", relation));
        std::int64_t count = 0;
        while (true) {
            const auto rows = primary_.exec("FETCH 500 FROM rows");
            if (rows.rows() == 0) break;
            for (int i = 0; i < rows.rows(); ++i) event(prefix + ".create", rows.get(i, 0));
            count += rows.rows();
            if (stop_.requested())
                throw Error(Remedy::retry, "57014", "the backfill was interrupted: stopping");
        }
        primary_.exec("CLOSE rows");
        flush();
        return count;
    }

  private:
    void event(const std::string& type, std::string_view data) {
        append_row_event(array_, point_, ++number_, source_, type, time_, data);
        if (array_.size() > chunk_bytes) flush();
    }
    void flush() {
        if (array_.empty()) return;
        array_ += ']';
        for (const std::size_t f : functions_)
            Handlers::call(replica_, handlers_.functions()[f], array_);
        array_.clear();
    }

    Connection &primary_, &replica_;
    const Handlers& handlers_;
    const Stop& stop_;
    std::string source_, time_, point_, array_;
    std::vector<std::size_t> functions_;
    std::int64_t number_ = 0;
};

}  // namespace

void append_row_event(std::string& array, const std::string& point, std::int64_t number,
                      const std::string& source, const std::string& type, const std::string& time,
                      std::string_view data) {
    array += array.empty() ? '[' : ',';
    // A JSON string in each: none of them needs an escape.
    fmt::format_to(std::back_inserter(array),
                   R"({{"specversion":"1.0","id":"{}.snapshot.{}","source":"{}","type":"{}",)"
                   R"("time":"{}")",
                   point, number, source, type, time);
    if (!data.empty()) (array += ",\"data\":") += data;
    array += '}';
}

std::vector<std::string> matching_prefixes(Connection& primary, const std::string& topic,
                                           const std::string& pattern) {
    const auto published = primary.query(
        "SELECT prefix FROM cqrs.published WHERE split_part(prefix, '.', 1) = $1 ORDER BY 1",
        {topic});
    std::vector<std::string> prefixes;
    for (int i = 0; i < published.rows(); ++i)
        if (matches(pattern, std::string(published.get(i, 0)) + ".create"))
            prefixes.emplace_back(published.get(i, 0));
    return prefixes;
}

void given(Connection& replica, const Registration& registration,
           const Handlers::Function& function, const std::vector<std::string>& prefixes,
           std::uint64_t point) {
    replica.query(
        "UPDATE cqrs.handler_state SET state = 'live', error = NULL, prefixes = $3, "
        "snapshot_lsn = $4, changed_at = clock_timestamp() WHERE pattern = $1 AND handler = $2",
        {registration.pattern, function.signature, fmt::format("{{{}}}", fmt::join(prefixes, ",")),
         postgres::format_lsn(point)});
}

void give_rows(Connection& primary, Connection& replica, const std::string& topic,
               const Handlers& handlers, std::uint64_t point, const Stop& stop) {
    const auto published = primary.query(
        "SELECT p.prefix, p.relation::text, c.relkind = 'p' FROM cqrs.published p "
        "JOIN pg_catalog.pg_class c ON c.oid = p.relation "
        "WHERE split_part(p.prefix, '.', 1) = $1 ORDER BY 1",
        {topic});
    Backfill backfill(primary, replica, handlers, point, stop);
    const auto waits = [](const Registration& r) {
        return r.state == Registration::State::pending;
    };
    for (int i = 0; i < published.rows(); ++i) {
        const std::string prefix(published.get(i, 0));
        std::vector<std::size_t> functions;
        for (const Registration& r : handlers.registrations())
            if (waits(r) && matches(r.pattern, prefix + ".create") &&
                std::find(functions.begin(), functions.end(), r.function) == functions.end())
                functions.push_back(r.function);
        if (functions.empty()) continue;
        const std::int64_t rows = backfill.table(prefix, std::string(published.get(i, 1)),
                                                 published.get_bool(i, 2), functions);
        spdlog::info("apply: {}: {} handler(s) were given {} rows of {} as of {}", topic,
                     functions.size(), rows, prefix, postgres::format_lsn(point));
    }
    for (const Registration& r : handlers.registrations())
        if (waits(r))
            given(replica, r, handlers.functions()[r.function],
                  matching_prefixes(primary, topic, r.pattern), point);
}

void backfill_handlers(const std::string& database_url, Connection& replica,
                       const std::string& topic, const Handlers& handlers, const Stop& stop) {
    ExportedSnapshot snapshot = export_snapshot(database_url, stop);
    Connection primary = open_at(snapshot, database_url, "cqrs backfill");
    replica.exec("BEGIN");
    give_rows(primary, replica, topic, handlers, snapshot.point, stop);
    replica.commit();
    primary.exec("COMMIT");
}

}  // namespace cqrs::apply
