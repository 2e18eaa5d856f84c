// Logical messages: domain events, context, resync marks, the relay's heartbeat. Any role can write
// any of them with any bytes, so everything is checked here; what is not right is ignored, with one
// warning. Their text is UTF-8, whatever the database's encoding.
#include "plugin.hpp"

#include "compat.hpp"
#include "plugin_catalog.hpp"

extern "C" {
#include "utils/lsyscache.h"
}

namespace cqrs {
namespace {

constexpr std::size_t kMaxWarnings = 100, kMaxReason = 255;

// Cuts the text before the first NUL off `bytes`; the whole if there is none.
std::string_view take_field(std::string_view& bytes) {
    const std::size_t end = bytes.find('\0');
    const std::string_view field = bytes.substr(0, end);
    bytes = end == std::string_view::npos ? std::string_view() : bytes.substr(end + 1);
    return field;
}

bool valid_json(std::string_view utf8) {
    return !utf8.empty() && valid_utf8(utf8) && json_depth(utf8, kMaxJsonDepth) <= kMaxJsonDepth &&
           valid_json_syntax(utf8.data(), utf8.size());
}

}  // namespace

void Plugin::message(ReorderBufferTXN* txn, XLogRecPtr lsn, bool transactional,
                     std::string_view kind, std::string_view bytes) {
    if (!kind.starts_with("cqrs.")) return;
    if (!transactional) {
        // No transaction here: no catalog access, and no allocation that its end would free.
        if (kind == "cqrs.heartbeat" && !options_.heartbeat.empty() && bytes == options_.heartbeat)
            output_.progress(lsn);
        return;
    }
    MemoryContext caller = MemoryContextSwitchTo(row_context_);
    if (kind == "cqrs.event")
        domain_event(txn, bytes);
    else if (kind == "cqrs.context")
        set_context(bytes);
    else if (kind == "cqrs.resync")
        marked_resync(txn, bytes);
    MemoryContextSwitchTo(caller);
    MemoryContextReset(row_context_);
}

// type \0 json
void Plugin::domain_event(ReorderBufferTXN* txn, std::string_view bytes) {
    const std::string_view type = take_field(bytes);
    if (!valid_type(type)) return ignore("cqrs.event", "its type is not valid");
    const auto [prefix, verb] = split_type(type);
    Publication owner;
    if (table_verb(verb) && find_prefix(txn, prefix, owner))
        return ignore(type, "only the published table has events of this type");
    const bool too_large = bytes.size() > options_.max_event_bytes;
    if (!too_large && !valid_json(bytes))
        return ignore(type, "its data is not valid JSON in UTF-8, or nested too deep");

    Topic& topic = output_.topic(topic_of(type));
    if (!too_large) {
        std::string& out = open(topic, type);
        out.append(",\"data\":").append(bytes).push_back('}');
        if (output_.event_size(topic) <= options_.max_event_bytes) return close(topic, type, false);
        drop(topic);
    }
    // It was committed and cannot be sent: consumers of the topic have to know.
    stop_topic(topic, type, "the event exceeds max_event_bytes");
}

void Plugin::stop_topic(Topic& topic, std::string_view type, std::string_view reason) {
    std::string& out = open(topic, topic.stop_type);
    out.append(",\"data\":{\"relation\":null,\"column\":null,\"reason\":\"")
        .append(type)
        .append(": ")
        .append(reason)
        .append("\",\"key\":null}}");
    close(topic, topic.stop_type, false);
}

// correlationid \0 causationid \0 traceparent, empty for what is not set
void Plugin::set_context(std::string_view bytes) {
    std::string_view fields[3];
    for (std::string_view& field : fields) {
        field = take_field(bytes);
        if (!valid_context(field)) return ignore("cqrs.context", "it is not valid");
    }
    if (!bytes.empty() || (!fields[2].empty() && !valid_traceparent(fields[2])))
        return ignore("cqrs.context", "it is not valid");
    start_events();
    envelope_->set_context(fields[0], fields[1], fields[2]);
}

// prefix \0 reason
void Plugin::marked_resync(ReorderBufferTXN* txn, std::string_view bytes) {
    const std::string_view prefix = take_field(bytes);
    Publication owner;
    if (!valid_prefix(prefix) || !find_prefix(txn, prefix, owner))
        return ignore("cqrs.resync", "its prefix is not published");
    old_key_.assign(prefix).append(".resync");
    new_key_.clear();
    append_relation_name(new_key_, get_rel_namespace(owner.relation), get_rel_name(owner.relation));
    resync_event(output_.topic(topic_of(prefix)), old_key_, new_key_, owner.notify,
                 bytes.substr(0, bytes.size() > kMaxReason ? 0 : bytes.size()));
}

void Plugin::ignore(std::string_view what, const char* why) {
    if (ignored_.size() >= kMaxWarnings || ignored_.contains(what)) return;
    const std::string& kept = *ignored_.emplace(what).first;
    ereport(WARNING, (errmsg("pg_cqrs ignores a message \"%s\": %s", kept.c_str(), why),
                      errdetail("Messages of the same kind are ignored without another warning.")));
}

}  // namespace cqrs
