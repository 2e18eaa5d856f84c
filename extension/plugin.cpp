// The output plugin's callbacks. Each runs in guarded(); none of them, nor what they call, keeps an
// object with a destructor on the stack across a call into Postgres.
#include "plugin.hpp"

#include "compat.hpp"
#include "plugin_settings.hpp"
#include "source.hpp"

extern "C" {
#include "miscadmin.h"
#include "replication/origin.h"
#include "replication/output_plugin.h"
#include "replication/walsender.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks* callbacks);
}

namespace cqrs {
namespace {

constexpr std::int64_t kEpochs =
    static_cast<std::int64_t>(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

Plugin& plugin(LogicalDecodingContext* ctx) {
    return *static_cast<Plugin*>(ctx->output_plugin_private);
}

struct Holder {
    MemoryContextCallback callback;
    LogicalDecodingContext* ctx;
};

void destroy(void* arg) {
    auto* holder = static_cast<Holder*>(arg);
    delete static_cast<Plugin*>(holder->ctx->output_plugin_private);
    holder->ctx->output_plugin_private = nullptr;
}

void startup(LogicalDecodingContext* ctx, OutputPluginOptions* options, bool is_init) {
    guarded([&] {
        // Allocated before the C++ object exists, so that nothing can fail between it and its
        // owner.
        auto* holder = static_cast<Holder*>(MemoryContextAllocZero(ctx->context, sizeof(Holder)));
        holder->ctx = ctx;
        holder->callback.func = destroy;
        holder->callback.arg = holder;
        {
            PluginOptions parsed;
            parse_plugin_options(ctx->output_plugin_options, parsed);
            ctx->output_plugin_private = new Plugin(ctx, parsed);
        }
        MemoryContextRegisterResetCallback(ctx->context, &holder->callback);
        options->output_type = plugin(ctx).options().frames ? OUTPUT_PLUGIN_BINARY_OUTPUT
                                                            : OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
        options->receive_rewrites = false;
        if (am_walsender && !is_init) pin_session_settings();
    });
}

void begin(LogicalDecodingContext* ctx, ReorderBufferTXN* txn) {
    guarded([&] { plugin(ctx).begin(txn); });
}

void change(LogicalDecodingContext* ctx, ReorderBufferTXN* txn, Relation relation,
            ReorderBufferChange* change) {
    guarded([&] { plugin(ctx).change(txn, relation, change); });
}

void truncate(LogicalDecodingContext* ctx, ReorderBufferTXN* txn, int count, Relation relations[],
              ReorderBufferChange*) {
    guarded([&] { plugin(ctx).truncate(txn, count, relations); });
}

void commit(LogicalDecodingContext* ctx, ReorderBufferTXN* txn, XLogRecPtr) {
    guarded([&] { plugin(ctx).commit(txn); });
}

void message(LogicalDecodingContext* ctx, ReorderBufferTXN* txn, XLogRecPtr lsn, bool transactional,
             const char* prefix, Size size, const char* bytes) {
    guarded([&] { plugin(ctx).message(txn, lsn, transactional, prefix, {bytes, size}); });
}

bool filter_by_origin(LogicalDecodingContext* ctx, RepOriginId origin) {
    return origin != InvalidRepOriginId && !plugin(ctx).options().any_origin;
}

}  // namespace

Plugin::Plugin(LogicalDecodingContext* ctx, const PluginOptions& options)
    : ctx_(ctx),
      options_(options),
      output_(ctx, options_, ctx->slot->data.confirmed_flush),
      tables_(ctx->context, output_),
      rows_(options_.max_event_bytes),
      row_context_(pg_call([&] {
          return AllocSetContextCreate(ctx->context, "pg_cqrs row", ALLOCSET_DEFAULT_SIZES);
      })) {}

void Plugin::begin(ReorderBufferTXN* txn) {
    txn_ = txn;
    started_ = produced_ = false;
    if (!am_walsender) pin_transaction_settings();
}

// Made at the first event of the session and of the transaction: most transactions may have none.
void Plugin::start_events() {
    if (!envelope_) {
        if (options_.source.empty()) append_default_source(options_.source);
        envelope_.emplace(options_.source);
    }
    if (!started_) {
        envelope_->begin_transaction(txn_->end_lsn, txn_->xact_time.commit_time + kEpochs);
        started_ = true;
    }
}

void Plugin::change(ReorderBufferTXN*, Relation relation, ReorderBufferChange* change) {
    report_progress_of_change(ctx_, changes_);
    MemoryContext caller = MemoryContextSwitchTo(row_context_);
    Table& table = tables_.find(relation, txn_);
    if (table.published) row_event(table, relation, change);
    MemoryContextSwitchTo(caller);
    MemoryContextReset(row_context_);
}

// The root of a partitioned table lists itself and its leaves: one event. A leaf alone: the
// published table is not empty, and its rows are not listed either.
void Plugin::truncate(ReorderBufferTXN*, int count, Relation* relations) {
    report_progress_of_change(ctx_, changes_);
    MemoryContext caller = MemoryContextSwitchTo(row_context_);
    auto listed = [&](Oid relation) {
        for (int i = 0; i < count; i++)
            if (RelationGetRelid(relations[i]) == relation) return true;
        return false;
    };
    auto* said = static_cast<Oid*>(palloc(sizeof(Oid) * count));
    int said_count = 0;
    for (int i = 0; i < count; i++) {
        Table& table = tables_.find(relations[i], txn_);
        if (!table.published) continue;
        if (table.root == table.relation) {
            bare_event(table, Verb::truncate);
            continue;
        }
        bool done = listed(table.root);
        for (int j = 0; j < said_count && !done; j++) done = said[j] == table.root;
        if (done) continue;
        said[said_count++] = table.root;
        resync_event(*table.topic, table.type(Verb::resync), table.name, table.notify,
                     "a partition was truncated");
    }
    MemoryContextSwitchTo(caller);
    MemoryContextReset(row_context_);
}

void Plugin::commit(ReorderBufferTXN* txn) {
    tables_.end_of_transaction();
    output_.commit(txn->end_lsn);
    OutputPluginUpdateProgress(ctx_, !produced_);
    txn_ = nullptr;
}

}  // namespace cqrs

void _PG_output_plugin_init(OutputPluginCallbacks* callbacks) {
    callbacks->startup_cb = cqrs::startup;
    callbacks->begin_cb = cqrs::begin;
    callbacks->change_cb = cqrs::change;
    callbacks->truncate_cb = cqrs::truncate;
    callbacks->commit_cb = cqrs::commit;
    callbacks->message_cb = cqrs::message;
    callbacks->filter_by_origin_cb = cqrs::filter_by_origin;
}
