#!/usr/bin/env bash
# supervise.sh CHILD-FILE COMMAND...: keep the command running until TERM. Its log is our output.
# A command that dies is started again: at once, and slower and slower when it dies young.
set -euo pipefail

child_file=$1
shift
child=
stopping=
stop() {
    stopping=1
    if [[ -n $child ]]; then kill -TERM "$child" 2>/dev/null || true; fi
}
trap stop TERM INT

delay=0
while [[ -z $stopping ]]; do
    begin=$SECONDS
    "$@" &
    child=$!
    echo "$child $(cut -d' ' -f22 "/proc/$child/stat" 2>/dev/null || echo gone)" >"$child_file"
    status=0
    wait "$child" || status=$?
    # A signal ends wait, not the child.
    while kill -0 "$child" 2>/dev/null; do
        status=0
        wait "$child" || status=$?
    done
    child=
    if [[ -n $stopping ]]; then break; fi
    echo "supervise: exit status $status; starting again" >&2
    if ((SECONDS - begin >= 10)); then delay=0; else delay=$((delay < 5 ? delay + 1 : 5)); fi
    # Interruptible, unlike a plain sleep.
    sleep "$((delay > 0 ? delay - 1 : 0)).2" &
    wait $! || true
done
