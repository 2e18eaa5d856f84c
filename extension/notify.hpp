// cqrs.notify: a command and cqrs.emit() notify in their own transaction, without a relay.
//
// Callers hold plain data only; these functions throw (to guarded()) and ereport.
#pragma once

#include "guard.hpp"

namespace cqrs {

enum class RowEvent { create, update, remove };

// The GUC. The others do nothing of use without it.
bool notify_wanted();

// A row (a composite Datum of the table's type) was written: notifies if the table is published.
void notify_row(Oid relation, RowEvent event, Datum row);

// A domain event; `json` in UTF-8.
void notify_event(const char* type, const char* json);

// cqrs.set_context() was called: holds for this transaction's later notifications, and goes with
// the savepoint that it was called in. UTF-8; empty for what is not set. Called whatever the GUC
// says.
void set_notify_context(const char* correlationid, const char* causationid,
                        const char* traceparent);

}  // namespace cqrs
