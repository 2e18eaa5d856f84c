// What _PG_init (module.cpp) calls, one function a file that has something to register.
#pragma once

// catalog.cpp: transaction callbacks for the resync marker, relcache callback of the command guard.
void catalog_init();
// notify.cpp: the GUC cqrs.notify.
void notify_init();
// token.cpp: the GUCs cqrs.report_token and cqrs.last_token.
void token_init();
// remote.cpp: a transaction callback. router.cpp: the GUCs of cqrs.read().
void remote_init();
void router_init();
// staleness.cpp: the GUC cqrs.max_staleness.
void staleness_init();
// wait.cpp: the transaction callback that wakes waiters.
void wait_init();
