#include "copy/beside.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <memory>

#include "apply/position.hpp"
#include "apply/replica.hpp"
#include "apply/snapshot.hpp"
#include "copy/ends.hpp"
#include "copy/jobs.hpp"
#include "copy/types.hpp"

namespace cqrs::copy {

namespace {

using postgres::Connection;
using postgres::Error;
using postgres::format_lsn;
using postgres::Remedy;
using postgres::Result;

// A piece is a transaction and a sequential read: 64 MB to 1 GB, some for each job.
constexpr std::int64_t least_blocks = 8192, most_blocks = 131072, pieces_per_job = 4;

class Attempt {
  public:
    Attempt(const Settings& settings, const std::vector<Missing>& missing,
            const std::set<std::string>& unbroken, Progress& progress, const Stop& stop)
        : settings_(settings),
          missing_(missing),
          unbroken_(unbroken),
          progress_(progress),
          stop_(stop),
          replica_(open_writer(settings.replica_database_url)) {}

    void run() {
        lock();
        const apply::CopyStream stream{settings_.slot};
        {
            auto primary = Connection::open(settings_.database_url, "cqrs copy");
            apply::stream_epoch(primary, stream);  // fails before anything waits
        }
        auto snapshot = apply::export_snapshot(settings_.database_url, stop_);
        Connection reader = open_reader(snapshot, settings_.database_url);
        const std::int64_t epoch = apply::stream_epoch(reader, stream).number;
        for (const Missing& m : missing_) prepare(reader, m, snapshot.point, epoch);
        forget_others();
        std::vector<NewTable*> all;
        for (auto& table : tables_) all.push_back(table.get());
        try {
            run_jobs(settings_, snapshot, all, stop_);
        } catch (...) {
            for (NewTable* t : all)
                if (!t->finished) t->progress->set(TableProgress::State::failed);
            throw;
        }
        reader.close();
        snapshot.connection.close();
        std::map<std::string, std::vector<NewTable*>> topics;
        for (NewTable* t : all) topics[t->topic].push_back(t);
        for (const auto& [topic, tables] : topics) install(topic, tables, epoch);
    }

  private:
    // One add-replica at a time, and no applier of these topics: a position that moved would leave
    // out what was not subscribed to yet.
    void lock() {
        if (!replica_.exec("SELECT pg_try_advisory_lock(hashtext('pg_cqrs copy'), 0)")
                 .get_bool(0, 0))
            throw Error(Remedy::retry, "55P03", "another add-replica copies into this replica");
        std::set<std::string> topics;
        for (const Missing& m : missing_) topics.insert(m.topic);
        for (const std::string& topic : topics)
            if (!apply::try_lock_topic(replica_, topic))
                throw Error(Remedy::retry, "55P03",
                            fmt::format("an applier works on topic {} of this replica", topic), "",
                            "Stop it until the tables are made.");
    }

    void prepare(Connection& reader, const Missing& m, std::uint64_t point, std::int64_t epoch) {
        // Put in place by an attempt before this one.
        if (replica_.query("SELECT FROM cqrs.subscription WHERE prefix = $1", {m.prefix}).rows())
            return;
        auto table = std::make_unique<NewTable>();
        table->topic = m.topic;
        table->prefix = m.prefix;
        table->source = m.source;
        table->definition = read_definition(reader, m.source, m.prefix);
        table->point = point;
        table->epoch = epoch;
        const std::string staging = table->definition.staging();
        const Result kept = replica_.query(
            "SELECT point, pg_catalog.to_regclass(staging) IS NOT NULL AND finished AND epoch = $2 "
            "AND staging = $3 FROM cqrs.copy_state WHERE prefix = $1",
            {m.prefix, std::to_string(epoch), staging});
        if (kept.rows() && kept.get_bool(0, 1) && unbroken_.contains(m.topic)) {
            table->point = postgres::parse_lsn(kept.get(0, 0));
            table->finished = true;
            spdlog::info("copy: {} is whole already, as of {}", m.prefix, kept.get(0, 0));
        } else {
            begin(reader, *table);
        }
        tables_.push_back(std::move(table));
    }

    void begin(Connection& reader, NewTable& table) {
        // Until the jobs are through nobody rewrites what is read piece by piece.
        apply::hold_table(reader, table.source);
        const Definition& d = table.definition;
        const std::string staging = d.staging();
        if (std::none_of(d.after.begin(), d.after.end(), [](const auto& s) { return s.key; }))
            throw Error(Remedy::stop, "55000", table.source + " has no key to find rows by", "",
                        "ALTER TABLE ... ADD PRIMARY KEY (...) on the primary.");
        replica_.exec("BEGIN");
        make_schema(replica_, d.schema);
        make_types(reader, replica_, table.source);
        replica_.exec("DROP TABLE IF EXISTS " + staging);
        replica_.exec(on_table(d.create, staging));
        replica_.query(
            "INSERT INTO cqrs.copy_state (prefix, staging, point, epoch) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (prefix) DO UPDATE SET staging = EXCLUDED.staging, point = "
            "EXCLUDED.point, epoch = EXCLUDED.epoch, pieces = '{}', finished = false",
            {table.prefix, staging, format_lsn(table.point), std::to_string(table.epoch)});
        replica_.commit();
        if (!d.left_out.empty())
            spdlog::warn("copy: {}: left out on the replica: {}", table.prefix,
                         fmt::join(d.left_out, ", "));
        table.list = column_list(columns(reader, table.source), columns(replica_, staging),
                                 table.prefix, staging);
        cut(reader, table);
        table.progress = progress_.add(table.prefix, d.qualified(), table.rows_expected);
    }

    // Into ranges of blocks, each partition on its own.
    void cut(Connection& reader, NewTable& table) {
        const Result leaves = reader.query(
            "SELECT c.oid::pg_catalog.regclass::text, c.relkind = 'r', "
            "pg_catalog.pg_relation_size(c.oid) / "
            "pg_catalog.current_setting('block_size')::bigint, greatest(c.reltuples, "
            "0)::bigint "
            "FROM (SELECT $1::pg_catalog.regclass::oid AS oid WHERE NOT EXISTS (SELECT FROM "
            " pg_catalog.pg_partitioned_table WHERE partrelid = $1::pg_catalog.regclass) "
            " UNION SELECT relid FROM pg_catalog.pg_partition_tree($1::pg_catalog.regclass) WHERE "
            " isleaf) l JOIN pg_catalog.pg_class c ON c.oid = l.oid ORDER BY 1",
            {table.source});
        for (int i = 0; i < leaves.rows(); ++i) {
            table.blocks += leaves.get_int(i, 2);
            table.rows_expected += leaves.get_int(i, 3);
        }
        const std::int64_t blocks =
            std::clamp(table.blocks / (static_cast<std::int64_t>(settings_.jobs) * pieces_per_job),
                       least_blocks, most_blocks);
        for (int i = 0; i < leaves.rows(); ++i) {
            const bool ordinary = leaves.get_bool(i, 1);
            const std::int64_t size = ordinary ? leaves.get_int(i, 2) : 0;
            std::int64_t from = 0;
            do {
                std::string where;
                if (from > 0) where = fmt::format("ctid >= '({},0)'", from);
                from += blocks;
                // The last one has no end: whatever the snapshot sees is in it.
                if (from < size)
                    where += fmt::format("{}ctid < '({},0)'", where.empty() ? "" : " AND ", from);
                table.pieces.push_back({static_cast<int>(table.pieces.size()),
                                        std::string(leaves.get(i, 0)), ordinary, where});
            } while (from < size);
        }
    }

    // What an earlier add-replica began and nobody wants any more.
    void forget_others() {
        const Result rows = replica_.exec("SELECT prefix, staging FROM cqrs.copy_state");
        for (int i = 0; i < rows.rows(); ++i) {
            const std::string prefix(rows.get(i, 0));
            if (std::any_of(missing_.begin(), missing_.end(),
                            [&](const Missing& m) { return m.prefix == prefix; }))
                continue;
            replica_.exec("DROP TABLE IF EXISTS " + std::string(rows.get(i, 1)));
            replica_.query("DELETE FROM cqrs.copy_state WHERE prefix = $1", {prefix});
        }
    }

    // Readers see the topic's new tables from one moment on, whole.
    void install(const std::string& topic, const std::vector<NewTable*>& tables,
                 std::int64_t epoch) {
        std::uint64_t point = UINT64_MAX;
        replica_.exec("BEGIN");
        const bool fresh = apply::load_position(replica_, topic).fresh();
        for (const NewTable* t : tables) {
            const Definition& d = t->definition;
            replica_.exec(fmt::format("ALTER TABLE {} RENAME TO {}", d.staging(),
                                      postgres::quote_identifier(d.name)));
            replica_.query("SELECT cqrs.subscribe($1, $2::pg_catalog.regclass)",
                           {t->prefix, d.qualified()});
            apply::Subscription s;
            s.prefix = t->prefix;
            s.relation = static_cast<std::uint32_t>(
                replica_.query("SELECT $1::pg_catalog.regclass::oid", {d.qualified()})
                    .get_int(0, 0));
            apply::copied_prefix(replica_, s, t->point);
            replica_.query("DELETE FROM cqrs.copy_state WHERE prefix = $1", {t->prefix});
            point = std::min(point, t->point);
        }
        // From the oldest copy on; the events that newer ones hold already are left out by prefix.
        apply::copied_position(replica_, topic, point, fresh, epoch);
        replica_.commit();
        spdlog::info("copy: topic {}: {} new tables are in place, as of {}", topic, tables.size(),
                     format_lsn(point));
    }

    const Settings& settings_;
    const std::vector<Missing>& missing_;
    const std::set<std::string>& unbroken_;
    Progress& progress_;
    const Stop& stop_;
    Connection replica_;
    std::vector<std::unique_ptr<NewTable>> tables_;
};

}  // namespace

void copy_beside(const Settings& settings, const std::vector<Missing>& missing,
                 const std::set<std::string>& unbroken, Progress& progress, const Stop& stop) {
    Backoff backoff;
    std::string said;
    for (;;) {
        try {
            return Attempt(settings, missing, unbroken, progress, stop).run();
        } catch (const Error& e) {
            if (stop.requested() || e.remedy() == Remedy::stop) throw;
            if (said != e.what())
                spdlog::warn("copy: {}{}{}; trying again", e.what(), e.hint().empty() ? "" : ". ",
                             e.hint());
            said = e.what();
            if (stop.wait_for(backoff.next())) throw stopped();
        }
    }
}

}  // namespace cqrs::copy
