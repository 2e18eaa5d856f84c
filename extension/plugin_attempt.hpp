// A call that may fail because of what a row holds, or of whose code it runs (output functions of
// user-defined types, decompression): in a subtransaction, so that an ERROR becomes a reason to
// write down instead of the end of decoding.
#pragma once

#include "guard.hpp"

extern "C" {
#include "access/xact.h"
#include "utils/resowner.h"
}

namespace cqrs {

struct Reason {
    char text[256] = "";
    void set(const char* from) { strlcpy(text, from, sizeof text); }
};

// Trouble of the server, not of the row: it passes, and is not to be written into the stream.
inline bool passes_by_itself(int sqlstate) {
    const int category = ERRCODE_TO_CATEGORY(sqlstate);
    return category == MAKE_SQLSTATE('5', '3', '0', '0', '0') ||
           category == MAKE_SQLSTATE('5', '7', '0', '0', '0') ||
           category == MAKE_SQLSTATE('5', '8', '0', '0', '0') ||
           category == MAKE_SQLSTATE('4', '0', '0', '0', '0');
}

// f holds plain data and throws no C++ exception. What it pallocs stays in the current context.
template <class F>
bool attempt(Reason& reason, F&& f) {
    MemoryContext context = CurrentMemoryContext;
    ResourceOwner owner = CurrentResourceOwner;
    ErrorData* volatile failed = nullptr;
    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(context);
    PG_TRY();
    {
        f();
        ReleaseCurrentSubTransaction();
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(context);
        failed = CopyErrorData();
        FlushErrorState();
        RollbackAndReleaseCurrentSubTransaction();
    }
    PG_END_TRY();
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = owner;
    if (!failed) return true;
    if (passes_by_itself(failed->sqlerrcode)) ReThrowError(failed);
    reason.set(failed->message ? failed->message : "unknown error");
    FreeErrorData(failed);
    return false;
}

}  // namespace cqrs
