// cqrs.notify: the command notifies in its own transaction, without a relay.
#include "guard.hpp"
#include "module.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace {
bool notify_enabled = false;
}

void notify_init() {
    DefineCustomBoolVariable(
        "cqrs.notify", "Commands and cqrs.emit() notify in their own transaction.",
        "The channel is the event's type, the payload its JSON, or its id where that would reach "
        "8,000 "
        "bytes. It costs throughput: Postgres serialises commits that notify (measured: 0.35 of "
        "the "
        "throughput with 8 clients). cqrs.publish(..., notify => true) costs writers nothing.",
        &notify_enabled, false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    MarkGUCPrefixReserved("cqrs");
}
