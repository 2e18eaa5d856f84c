#include "notify.hpp"

#include "catalog.hpp"
#include "event.hpp"
#include "module.hpp"
#include "plugin_encoding.hpp"
#include "plugin_row.hpp"
#include "plugin_settings.hpp"
#include "source.hpp"

#include <optional>
#include <string>
#include <vector>

extern "C" {
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "commands/async.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
}

namespace cqrs {
namespace {

bool notify_setting = false;

constexpr std::size_t kPayloadLimit = 8000;  // async.c: shorter than this
constexpr std::int64_t kEpochs =
    static_cast<std::int64_t>(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

// What set_context() said, each with the subtransaction that said it.
struct Context {
    SubTransactionId owner;
    std::string correlationid, causationid, traceparent;
};
std::vector<Context> contexts;
// Counts this transaction's notifications. The transaction has none yet while it is empty.
std::optional<Envelope> envelope;

void at_transaction_end(XactEvent event, void*) {
    if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE ||
        event == XACT_EVENT_PARALLEL_PRE_COMMIT)
        return;
    contexts.clear();
    envelope.reset();
}

void at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent,
                           void*) {
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        while (!contexts.empty() && contexts.back().owner >= id) contexts.pop_back();
    } else if (event == SUBXACT_EVENT_COMMIT_SUB) {
        for (Context& context : contexts)
            if (context.owner == id) context.owner = parent;
    }
}

// The commit's LSN is not known yet: the transaction's number stands for it.
Envelope& this_transaction() {
    const std::int64_t now = GetCurrentTimestamp() + kEpochs;
    if (!envelope) {
        std::string source;
        append_default_source(source);
        const std::uint64_t xid =
            pg_call([] { return U64FromFullTransactionId(GetTopFullTransactionId()); });
        envelope.emplace(source);
        envelope->begin_transaction("xid:" + std::to_string(xid), now);
    }
    if (contexts.empty())
        envelope->set_context({}, {}, {});
    else
        envelope->set_context(contexts.back().correlationid, contexts.back().causationid,
                              contexts.back().traceparent);
    return *envelope;
}

// `data` is JSON in UTF-8; without it (it cannot be said, or not in this encoding) the id goes
// alone.
void send(const char* type, std::optional<std::string_view> data) {
    std::string event;
    this_transaction().open(event, type);
    constexpr std::string_view before_id = "{\"specversion\":\"1.0\",\"id\":\"";
    std::string id = event.substr(before_id.size());
    id.resize(id.find('"'));
    std::string_view payload = id;
    if (data) {
        event.append(",\"data\":").append(*data).push_back('}');
        std::string_view converted;
        if (pg_call([&] { return from_utf8(event, converted); }) &&
            converted.size() < kPayloadLimit)
            payload = converted;
    }
    const std::string text(payload);
    pg_call([&] { Async_Notify(type, text.c_str()); });
}

const char* verb_of(RowEvent event) {
    return event == RowEvent::create ? "create" : event == RowEvent::update ? "update" : "delete";
}

// The same writer as the plugin's.
bool write_row(std::string& out, Relation root, Relation relation, RowEvent event, HeapTuple row) {
    Table table(CurrentMemoryContext);
    describe_columns(table, root, relation);
    if (table.broken.text[0]) return false;
    RowWriter writer(kPayloadLimit);
    Failure failure;
    const bool removed = event == RowEvent::remove;
    pg_call([&] {
        writer.load(RelationGetDescr(relation), removed ? nullptr : row, removed ? row : nullptr);
    });
    if (!removed) return writer.write_row(out, table, true, failure);
    return writer.write_old(out, table, table.full_identity ? Part::all : Part::key, failure);
}

}  // namespace

bool notify_wanted() {
    return notify_setting;
}

void notify_row(Oid relation, RowEvent event, Datum row) {
    Published published;
    const Oid root = published_root(relation, &published);
    if (!OidIsValid(root)) return;
    const char* type = psprintf("%s.%s", published.prefix, verb_of(event));
    Relation rel = relation_open(relation, AccessShareLock);
    Relation root_rel = relation_open(root, AccessShareLock);
    HeapTupleHeader header = DatumGetHeapTupleHeader(row);
    HeapTupleData tuple{};
    tuple.t_len = HeapTupleHeaderGetDatumLength(header);
    tuple.t_data = header;
    ItemPointerSetInvalid(&tuple.t_self);
    const int settings = NewGUCNestLevel();
    pin_transaction_settings();
    {
        std::string data;
        if (write_row(data, root_rel, rel, event, &tuple))
            send(type, data);
        else
            send(type, {});
    }
    AtEOXact_GUC(false, settings);
    relation_close(root_rel, AccessShareLock);
    relation_close(rel, AccessShareLock);
}

void notify_event(const char* type, const char* json) {
    send(type, json);
}

void set_notify_context(const char* correlationid, const char* causationid,
                        const char* traceparent) {
    const SubTransactionId owner = GetCurrentSubTransactionId();
    if (!contexts.empty() && contexts.back().owner == owner) contexts.pop_back();
    contexts.push_back({owner, correlationid, causationid, traceparent});
}

}  // namespace cqrs

void notify_init() {
    DefineCustomBoolVariable(
        "cqrs.notify", "Commands and cqrs.emit() notify in their own transaction.",
        "The channel is the event's type, the payload its CloudEvent, or the event's id alone "
        "where "
        "that would reach 8,000 bytes. The id is xid:<transaction>.<n>, as the commit's LSN is not "
        "known yet. It needs no relay but costs throughput: Postgres serialises commits that "
        "notify "
        "(0.35 of the throughput with 8 clients). cqrs.publish(..., notify => true) costs writers "
        "nothing; with both on, listeners hear of an event twice.",
        &cqrs::notify_setting, false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    RegisterXactCallback(cqrs::at_transaction_end, nullptr);
    RegisterSubXactCallback(cqrs::at_subtransaction_end, nullptr);
}
