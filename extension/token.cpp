// cqrs.token(): what a session has committed, for cqrs.wait_for() on a replica. And the same
// without a call: the setting cqrs.last_token, which Postgres reports to the client by itself.
#include "token.hpp"

#include "compat.hpp"
#include "module.hpp"
#include "source.hpp"

#include <cctype>
#include <cstdlib>
#include <string>

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(cqrs_token);
}

namespace cqrs {
namespace {

constexpr const char* version = "1:";
constexpr const char* lsn_format = "%s%X/%X";

uint32 high(XLogRecPtr lsn) {
    return static_cast<uint32>(lsn >> 32);
}
uint32 low(XLogRecPtr lsn) {
    return static_cast<uint32>(lsn);
}

bool report_setting = false;
char* reported = nullptr;  // cqrs.last_token's own value: never looked at
// version, source and a colon; made once, within a transaction, as it reads the catalog.
char* prefix = nullptr;

// A server in recovery may be promoted to another timeline: not kept then.
const char* token_prefix() {
    if (prefix != nullptr) return prefix;
    std::string made(version), source;
    append_default_source(source);
    made.append(source).push_back(':');
    return pg_call([&] {
        char* text = MemoryContextStrdup(
            RecoveryInProgress() ? CurrentMemoryContext : TopMemoryContext, made.c_str());
        if (!RecoveryInProgress()) prefix = text;
        return text;
    });
}

// Postgres reports a setting marked GUC_REPORT, if its value changed, right before it is ready for
// the next command: by then the transaction has ended. Assigning it marks it; that may fail, so it
// is done before the commit. The value is made when it is shown.
void at_transaction_end(XactEvent event, void*) {
    if (event != XACT_EVENT_PRE_COMMIT || !report_setting ||
        !TransactionIdIsValid(GetTopTransactionIdIfAny()))
        return;
    guarded([] { (void)token_prefix(); });
    SetConfigOption("cqrs.last_token", "", PGC_INTERNAL, PGC_S_OVERRIDE);
}

const char* show_last_token() {
    static char shown[2 * NAMEDATALEN * 3 + 64];
    if (prefix == nullptr || last_commit() == InvalidXLogRecPtr) return "";
    snprintf(shown, sizeof shown, lsn_format, prefix, high(last_commit()), low(last_commit()));
    return shown;
}

[[noreturn]] void bad_token(const char* text) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid token: \"%s\"", text),
                    errdetail("A token is 1:/<database>/<system identifier>/<timeline>:<LSN>."),
                    errhint("Pass what cqrs.token() returned on the primary, unchanged.")));
    pg_unreachable();
}

bool digits(const char*& at, int most) {
    int count = 0;
    for (; isdigit(static_cast<unsigned char>(*at)); at++) count++;
    return count >= 1 && count <= most;
}

// Half of an LSN: 1 to 8 hexadecimal digits.
bool half(const char*& at, uint64& value) {
    char* end;
    if (!isxdigit(static_cast<unsigned char>(*at))) return false;
    value = strtoull(at, &end, 16);
    const bool good = end - at <= 8 && (*at != '0' || (at[1] != 'x' && at[1] != 'X'));
    at = end;
    return good;
}

}  // namespace

Token parse_token(const char* text) {
    if (strncmp(text, version, strlen(version)) != 0) bad_token(text);
    const char* source = text + strlen(version);
    const char* end = strchr(source, ':');
    if (end == nullptr) bad_token(text);
    // /<database, percent-encoded>/<system identifier>/<timeline>
    const char* at = source;
    if (*at++ != '/' || *at == '/') bad_token(text);
    while (at < end && *at != '/') at++;
    if (*at++ != '/' || !digits(at, 20)) bad_token(text);
    if (*at++ != '/' || !digits(at, 10) || at != end) bad_token(text);
    uint64 first, second;
    if (!half(++at, first) || *at++ != '/' || !half(at, second) || *at != '\0') bad_token(text);
    Token token{pnstrdup(source, end - source), first << 32 | second};
    if (token.lsn == InvalidXLogRecPtr) bad_token(text);
    return token;
}

bool newer_timeline(const char* source, const char* than) {
    const char* timeline = strrchr(source, '/');
    const char* other = strrchr(than, '/');
    return timeline != nullptr && other != nullptr && timeline - source == other - than &&
           strncmp(source, than, timeline - source) == 0 &&
           strtoul(timeline + 1, nullptr, 10) > strtoul(other + 1, nullptr, 10);
}

XLogRecPtr last_commit() {
    return XactLastCommitEnd;
}

char* make_token(XLogRecPtr lsn) {
    const char* source = token_prefix();
    return psprintf(lsn_format, source, high(lsn), low(lsn));
}

}  // namespace cqrs

void token_init() {
    DefineCustomBoolVariable(
        "cqrs.report_token", "Report the setting cqrs.last_token to the client after each commit.",
        "It arrives with the command's answer, as a ParameterStatus; libpq: PQparameterStatus(). "
        "The library must be loaded: session_preload_libraries = 'pg_cqrs', or any of its "
        "functions was called.",
        &cqrs::report_setting, false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomStringVariable(
        "cqrs.last_token", "Token of this session's last commit, for cqrs.wait_for() on a replica.",
        "Empty until a transaction has committed with cqrs.report_token = on.", &cqrs::reported, "",
        PGC_INTERNAL, GUC_REPORT | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, nullptr, nullptr,
        cqrs::show_last_token);
    RegisterXactCallback(cqrs::at_transaction_end, nullptr);
}

Datum cqrs_token(PG_FUNCTION_ARGS) {
    return cqrs::guarded([&] {
        if (RecoveryInProgress())
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("a standby server has no tokens"),
                            errdetail("It commits nothing itself."),
                            errhint("Call cqrs.token() on the primary.")));
        if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
            ereport(
                ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("this transaction has written and is not committed yet"),
                 errdetail("A token names a commit; that of this transaction is still to come."),
                 errhint("COMMIT first. In one round trip: 'BEGIN; ...; COMMIT; SELECT "
                         "cqrs.token()' as one string, or the driver's pipeline mode.")));
        const bool any_session = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
        XLogRecPtr lsn = any_session ? InvalidXLogRecPtr : cqrs::last_commit();
        if (lsn == InvalidXLogRecPtr) lsn = GetXLogInsertRecPtr();
        return PointerGetDatum(cstring_to_text(cqrs::make_token(lsn)));
    });
}
