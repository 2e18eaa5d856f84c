// The shared library's one entry point: everything that is registered once per backend.
#include "module.hpp"
#include "guard.hpp"

extern "C" {
#include "fmgr.h"
PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init();
}

void _PG_init() {
    notify_init();
    catalog_init();
}
