// One decoding session: what its callbacks share. Owned by the decoding context's memory, not by
// any callback: a reset callback destroys it, also after an ERROR.
#pragma once

#include "event.hpp"
#include "guard.hpp"
#include "plugin_options.hpp"
#include "plugin_output.hpp"
#include "plugin_relation.hpp"
#include "plugin_row.hpp"

extern "C" {
#include "replication/logical.h"
}

#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace cqrs {

class Plugin {
  public:
    Plugin(LogicalDecodingContext* ctx, const PluginOptions& options);

    const PluginOptions& options() const { return options_; }

    void begin(ReorderBufferTXN* txn);
    void change(ReorderBufferTXN* txn, Relation relation, ReorderBufferChange* change);
    void truncate(ReorderBufferTXN* txn, int count, Relation* relations);
    void commit(ReorderBufferTXN* txn);
    // plugin_message.cpp
    void message(ReorderBufferTXN* txn, XLogRecPtr lsn, bool transactional, std::string_view kind,
                 std::string_view bytes);

  private:
    // plugin_event.cpp
    void row_event(Table& table, Relation relation, ReorderBufferChange* change);
    bool write_row_event(std::string& out, Table& table, ReorderBufferChangeType action,
                         Failure& failure);
    bool write_oldkey(std::string& out, Table& table, Failure& failure);
    void bare_event(Table& table, Verb verb);
    void resync_event(Topic& topic, const std::string& type, const std::string& relation,
                      bool notify, std::string_view reason);
    void stop_event(Table& table, const Failure& failure, bool with_key);
    void stop_table(Table& table, const char* reason);

    // plugin_message.cpp
    void domain_event(ReorderBufferTXN* txn, std::string_view bytes);
    void set_context(std::string_view bytes);
    void stop_topic(Topic& topic, std::string_view type, std::string_view reason);
    void marked_resync(ReorderBufferTXN* txn, std::string_view bytes);
    void ignore(std::string_view what, const char* why);

    void start_events();
    std::string& open(Topic& topic, std::string_view type);
    void close(Topic& topic, std::string_view type, bool notify, bool shown = true);
    void drop(Topic& topic);

    LogicalDecodingContext* ctx_;
    PluginOptions options_;
    Output output_;
    TableCache tables_;
    RowWriter rows_;
    MemoryContext row_context_;  // reset after each change
    std::optional<Envelope> envelope_;
    ReorderBufferTXN* txn_ = nullptr;
    bool started_ = false;   // the envelope knows this transaction
    bool produced_ = false;  // the transaction has events
    unsigned changes_ = 0;
    std::string old_key_, new_key_;  // scratch
    std::set<std::string, std::less<>> ignored_;
};

}  // namespace cqrs
