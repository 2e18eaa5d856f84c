// The shared library's one entry point: everything that is registered once per backend.
#include "module.hpp"
#include "guard.hpp"

extern "C" {
#include "fmgr.h"
#include "utils/guc.h"
PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init();
}

void _PG_init() {
    notify_init();
    catalog_init();
    token_init();
    remote_init();
    router_init();
    staleness_init();
    wait_init();
    MarkGUCPrefixReserved("cqrs");  // after all of them: a misspelt one is an error from now on
}
