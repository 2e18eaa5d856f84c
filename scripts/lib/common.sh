# Shared by every script: where things are, who runs the servers, how to wait. Sourced, never run.
# shellcheck shell=bash

CQRS_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
export LC_ALL=C.UTF-8
unset PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGDATA PGSERVICE PGOPTIONS PGHOSTADDR PGAPPNAME
unset PGSSLMODE PGPASSFILE PSQLRC

say() { printf '%s\n' "$*"; }
note() { printf '%s\n' "$*" >&2; }
die() {
    note "${0##*/}: $*"
    exit 1
}

is_root() { [[ $EUID -eq 0 ]]; }

# Postgres refuses to run as root and RabbitMQ should not: root's servers run as this user, which
# Debian's postgresql package brings along. Everybody else's run as themselves.
server_user() {
    if is_root; then echo postgres; else id -un; fi
}

# as_server COMMAND...: run it as the user of the servers, in a directory which that user may enter.
# It may stay, as pg_ctl's server does: our locks (files 8 and 9) must not stay with it.
as_server() {
    if is_root; then
        env -C / setpriv --reuid=postgres --regid=postgres --init-groups -- "$@" 8>&- 9>&-
    else
        env -C / "$@" 8>&- 9>&-
    fi
}

# Everything built or run lives here. Root's server user cannot be expected to enter the clone
# (/root is closed to it), and make cannot cope with blanks in a path: then it is /var/tmp.
cqrs_work_directory() {
    if ! is_root && [[ $CQRS_ROOT =~ ^[A-Za-z0-9_./+-]{1,200}$ ]]; then
        CQRS_WORK=$CQRS_ROOT/.stage
        mkdir -p "$CQRS_WORK"
        return
    fi
    local key
    key=$(printf '%s' "$CQRS_ROOT" | sha256sum)
    CQRS_WORK=/var/tmp/pg_cqrs-$EUID-${key:0:12}
    # /var/tmp is everybody's: take only a directory that is ours.
    mkdir -m 755 "$CQRS_WORK" 2>/dev/null || true
    if [[ -L $CQRS_WORK || $(stat -c %u "$CQRS_WORK") -ne $EUID ]]; then
        die "$CQRS_WORK belongs to somebody else; remove it"
    fi
    chmod 755 "$CQRS_WORK"
}

# own_directory DIR: make a directory that belongs to the user of the servers and is closed to others.
own_directory() {
    mkdir -p "$1"
    if is_root; then chown postgres:postgres "$1"; fi
    chmod 700 "$1"
}

# wait_until SECONDS COMMAND...: poll until the command succeeds. 1 when the time is over.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if ((SECONDS >= deadline)); then return 1; fi
        sleep 0.1
    done
}

port_is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port VARIABLE: a port nobody listens on, below the range of outgoing connections.
CQRS_PORTS_TAKEN=" 5432 5672 8000 15432 15433 15672 15673 18000 25672 "
free_port() {
    local candidate
    while :; do
        candidate=$((20000 + RANDOM % 12000))
        if [[ $CQRS_PORTS_TAKEN == *" $candidate "* ]] || port_is_open "$candidate"; then continue; fi
        CQRS_PORTS_TAKEN+="$candidate "
        printf -v "$1" '%s' "$candidate"
        return
    done
}

random_word() { head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

# A process is its id and its start time: an id alone may belong to somebody else by now.
process_start() {
    local stat
    # Not $(<file): bash 5.2 ends the whole script when the file is not there.
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    # A zombie is dead: nobody may be there to reap it in a container without init.
    if [[ $1 == Z || $1 == X ]]; then return 1; fi
    echo "${20}"
}

record_process() { # FILE PID
    echo "$2 $(process_start "$2" || echo gone)" >"$1.new"
    mv "$1.new" "$1"
}

# recorded_process FILE: the id, if that very process is still alive.
recorded_process() {
    local pid start
    { read -r pid start <"$1"; } 2>/dev/null || return 1
    [[ $pid =~ ^[0-9]+$ && $(process_start "$pid") == "$start" ]] || return 1
    echo "$pid"
}

is_running() { recorded_process "$1" >/dev/null; }

is_gone() { ! is_running "$1"; }

# stop_recorded FILE SECONDS: TERM, then KILL after that long.
stop_recorded() {
    local pid
    if pid=$(recorded_process "$1"); then
        kill -TERM "$pid" 2>/dev/null || true
        if ! wait_until "$2" is_gone "$1"; then
            kill -KILL "$pid" 2>/dev/null || true
            wait_until 5 is_gone "$1" || true
        fi
    fi
    rm -f "$1"
}

cqrs_work_directory
