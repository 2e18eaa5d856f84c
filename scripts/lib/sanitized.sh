# A Postgres whose backends run the extension under ASan and UBSan. Sourced, after build.sh.
# The server is Debian's, so what it does with memory of its own is not looked into; what the
# extension does is, and every malloc.
# shellcheck shell=bash disable=SC2034

# Before find_postgres: a copy of the server and objects of the extension beside the usual ones.
sanitized_variant() {
    PG_VARIANT=-sanitized
    # Not all of what Postgres' own headers do is defined: unaligned reads of tuples are not.
    PG_SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -fno-sanitize=alignment"
}

# After stage_postgres. ASan's library has to come first in a process that loads an instrumented
# one: the program is a script that sees to it. Reports go to files, for a server that was started
# again after one goes on as if nothing had been.
sanitize_postgres() {
    local library
    library=$(readlink -f "$(g++ -print-file-name=libasan.so)")
    if [[ ! -e $PG_BIN/postgres.real ]]; then mv "$PG_BIN/postgres" "$PG_BIN/postgres.real"; fi
    # ASan awakes at the first malloc: that of a library of Postgres' which holds a lock of gettext. It
    # then looks for this function, and the message that there is none would be translated, under the
    # same lock.
    echo 'char *swift_demangle(void) { return 0; }' | gcc -shared -fPIC -x c -o "$PG_LIB/sanitized.so" -
    # Backends end without freeing: no look for leaks. A failed malloc is Postgres' to report.
    cat >"$PG_BIN/postgres" <<-SCRIPT
		#!/bin/sh
		report=\${CQRS_CHECK_AREA:-/tmp}/sanitizer-report
		export LD_PRELOAD='$library $PG_LIB/sanitized.so'
		export ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16:abort_on_error=1:detect_stack_use_after_return=1:log_path=\$report"
		export UBSAN_OPTIONS="print_stacktrace=1:abort_on_error=1:log_path=\$report"
		exec "\${0%/*}/postgres.real" "\$@"
	SCRIPT
    chmod 755 "$PG_BIN/postgres" "$PG_LIB/sanitized.so"
}
