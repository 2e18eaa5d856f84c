// Events of tables: rows, and the special ones (truncate, resync, stop).
#include "plugin.hpp"

#include "compat.hpp"
#include "plugin_encoding.hpp"

extern "C" {
#include "access/htup_details.h"
#include "utils/rel.h"
}

namespace cqrs {
namespace {

// A stop event names the row if its key is short enough to read.
constexpr std::size_t kMaxStopKey = 8192;

// Reasons may be messages of foreign code, in whatever encoding.
void append_reason(std::string& out, std::string_view reason) {
    const std::size_t start = out.size();
    std::string_view utf8;
    if (to_utf8(reason, utf8) && append_json_string(out, utf8)) return;
    out.resize(start);
    out.push_back('"');
    for (char c : reason) out.push_back(c >= ' ' && c != '"' && c != '\\' ? c : '?');
    out.push_back('"');
}

}  // namespace

std::string& Plugin::open(Topic& topic, std::string_view type) {
    start_events();
    std::string& out = output_.begin_event(topic, envelope_->lsn());
    envelope_->open(out, type);
    return out;
}

void Plugin::close(Topic& topic, std::string_view type, bool notify, bool shown) {
    output_.end_event(topic, type, notify, envelope_->lsn(), envelope_->time_us(), shown);
    produced_ = true;
}

// Another event of the same topic must follow: a frame may have been written with `more`.
void Plugin::drop(Topic& topic) {
    output_.drop_event(topic);
    envelope_->undo();
}

void Plugin::row_event(Table& table, Relation relation, ReorderBufferChange* change) {
    const ReorderBufferChangeType action = change->action;
    if (action != REORDER_BUFFER_CHANGE_INSERT && action != REORDER_BUFFER_CHANGE_UPDATE &&
        action != REORDER_BUFFER_CHANGE_DELETE)
        return;
    HeapTuple row = decoded_tuple(change->data.tp.newtuple);
    HeapTuple old_row = decoded_tuple(change->data.tp.oldtuple);
    const bool insert = action == REORDER_BUFFER_CHANGE_INSERT;
    const bool remove = action == REORDER_BUFFER_CHANGE_DELETE;
    if (table.broken.text[0]) return stop_table(table, table.broken.text);
    if (!insert && !table.has_key && !table.full_identity)
        return stop_table(table, "the table has no replica identity");
    if ((!remove && !row) || (remove && !old_row)) return stop_table(table, "WAL holds no tuple");

    rows_.load(RelationGetDescr(relation), row, old_row);
    const Verb verb = insert ? Verb::create : remove ? Verb::remove : Verb::update;
    Failure failure;
    std::string& out = open(*table.topic, table.type(verb));
    if (write_row_event(out, table, action, failure))
        return close(*table.topic, table.type(verb), table.notify);
    drop(*table.topic);
    stop_event(table, failure, true);
}

bool Plugin::write_row_event(std::string& out, Table& table, ReorderBufferChangeType action,
                             Failure& failure) {
    bool written = false;
    if (action == REORDER_BUFFER_CHANGE_UPDATE && !write_oldkey(out, table, failure)) return false;
    const std::size_t start = out.size();
    out.append(",\"data\":", 8);
    if (action == REORDER_BUFFER_CHANGE_DELETE)
        written = rows_.write_old(out, table, table.full_identity ? Part::all : Part::key, failure);
    else
        written = rows_.write_row(out, table, action == REORDER_BUFFER_CHANGE_INSERT, failure);
    if (!written) return false;
    // Rare: then it moves the data.
    out.insert(start, rows_.json_nulls());
    out.push_back('}');
    if (output_.event_size(*table.topic) <= options_.max_event_bytes) return true;
    failure.reason.set("the event exceeds max_event_bytes");
    return false;
}

// WAL holds the old key if it changed, or with REPLICA IDENTITY FULL, or if part of it is in TOAST.
// Where the identity is not the primary key, a replica would look for the row by its primary key,
// which may have changed unsaid: there the key is always named.
bool Plugin::write_oldkey(std::string& out, Table& table, Failure& failure) {
    if (!rows_.has_old() && !table.names_old) return true;
    old_key_.clear();
    new_key_.clear();
    const Part part = table.has_key ? Part::key : Part::all;
    if (rows_.has_old() && !rows_.write_old(old_key_, table, part, failure)) return false;
    if (!rows_.write_new_key(new_key_, table, failure)) return false;
    if (!rows_.has_old()) old_key_ = new_key_;
    if (old_key_ == new_key_ && !table.names_old) return true;
    out.append(",\"oldkey\":");
    return append_json_string(out, old_key_);
}

void Plugin::bare_event(Table& table, Verb verb) {
    open(*table.topic, table.type(verb)).push_back('}');
    close(*table.topic, table.type(verb), table.notify);
}

// For replicas, not for readers: text mode does not show it, but counts it, so that ids stay the
// same.
void Plugin::resync_event(Topic& topic, const std::string& type, const std::string& relation,
                          bool notify, std::string_view reason) {
    std::string& out = open(topic, type);
    out.append(",\"data\":{\"relation\":").append(relation).append(",\"reason\":");
    append_reason(out, reason);
    out.append("}}");
    close(topic, type, notify, false);
}

void Plugin::stop_event(Table& table, const Failure& failure, bool with_key) {
    // The key is written first, to scratch: it may be what cannot be said.
    old_key_.clear();
    if (with_key && table.has_key) {
        Failure of_key;
        const bool written = rows_.has_old() ? rows_.write_old(old_key_, table, Part::key, of_key)
                                             : rows_.write_new_key(old_key_, table, of_key);
        if (!written || old_key_.size() > kMaxStopKey) old_key_.clear();
    }
    std::string& out = open(*table.topic, table.type(Verb::stop));
    out.append(",\"data\":{\"relation\":").append(table.name).append(",\"column\":");
    if (failure.column)  // ,"name":
        out.append(failure.column->name, 1, failure.column->name.size() - 2);
    else
        out.append("null");
    out.append(",\"reason\":");
    append_reason(out, failure.reason.text);
    out.append(",\"key\":").append(old_key_.empty() ? "null" : old_key_.c_str()).append("}}");
    close(*table.topic, table.type(Verb::stop), table.notify);
}

// The whole table cannot be followed: said once a transaction.
void Plugin::stop_table(Table& table, const char* reason) {
    if (table.stopped_at == txn_->end_lsn) return;
    Failure failure;
    failure.reason.set(reason);
    stop_event(table, failure, false);
    table.stopped_at = txn_->end_lsn;
}

}  // namespace cqrs
