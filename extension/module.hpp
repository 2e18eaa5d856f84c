// What _PG_init (module.cpp) calls, one function a file that has something to register.
#pragma once

// catalog.cpp: transaction callbacks for the resync marker, relcache callback of the command guard.
void catalog_init();
// notify.cpp: the GUC cqrs.notify; reserves the prefix "cqrs".
void notify_init();
