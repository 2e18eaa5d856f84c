# A whole private stack in one directory: primary, replica, RabbitMQ, relay, applier. Sourced after
# common.sh, build.sh, postgres.sh and rabbitmq.sh; build_all must have run.
#
# DIRECTORY/settings     ports and password, chosen once (by stack_settings)
# DIRECTORY/server/...   what the servers own: data, logs
# DIRECTORY/*.process    who runs: process id and start time
# shellcheck shell=bash

stack_load() { # DIRECTORY
    # shellcheck source=/dev/null
    source "$1/settings"
    DATABASE_URL=postgresql://postgres:$STACK_PASSWORD@127.0.0.1:$STACK_PRIMARY_PORT/parking_db
    REPLICA_DATABASE_URL=postgresql://postgres:$STACK_PASSWORD@127.0.0.1:$STACK_REPLICA_PORT/parking_replica_db
    RABBITMQ_BROKER_URL=amqp://guest:$STACK_PASSWORD@127.0.0.1:$STACK_RABBITMQ_PORT/%2F
    ADMIN_URL=http://127.0.0.1:$STACK_RELAY_PORT
    APPLY_ADMIN_URL=http://127.0.0.1:$STACK_APPLY_PORT
    export DATABASE_URL REPLICA_DATABASE_URL RABBITMQ_BROKER_URL ADMIN_URL APPLY_ADMIN_URL
    STACK_SERVER=$1/server
}

# stack_settings DIRECTORY: choose ports and a password, unless that was done before.
stack_settings() {
    local name
    mkdir -p "$1"
    if [[ ! -e $1/settings ]]; then
        for name in PRIMARY REPLICA RABBITMQ DIST EPMD RELAY APPLY; do
            free_port "STACK_${name}_PORT"
            local variable=STACK_${name}_PORT
            echo "$variable=${!variable}"
        done >"$1/settings.new"
        echo "STACK_PASSWORD=$(random_word)" >>"$1/settings.new"
        chmod 600 "$1/settings.new"
        mv "$1/settings.new" "$1/settings"
    fi
    stack_load "$1"
}

# The environment that programs beside the stack need.
stack_environment() {
    local name
    for name in DATABASE_URL REPLICA_DATABASE_URL RABBITMQ_BROKER_URL ADMIN_URL APPLY_ADMIN_URL; do
        printf 'export %s=%q\n' "$name" "${!name}"
    done
    printf 'export CQRS_REPLICATOR=%q\n' "$CQRS_REPLICATOR"
}

stack_databases() {
    local side
    if [[ ! -e $STACK_SERVER/created ]]; then
        rm -rf "$STACK_SERVER"
        own_directory "$STACK_SERVER"
        # initdb reads the password from a file; the file goes away at once.
        printf '%s\n' "$STACK_PASSWORD" | as_server tee "$STACK_SERVER/password" >/dev/null
        postgres_init "$STACK_SERVER/primary" "$STACK_SERVER/password" &
        local primary=$!
        postgres_init "$STACK_SERVER/replica" "$STACK_SERVER/password"
        wait $primary
        rm -f "$STACK_SERVER/password"
        rabbitmq_init "$STACK_SERVER/rabbitmq" "$STACK_PASSWORD" \
            "$STACK_RABBITMQ_PORT" "$STACK_DIST_PORT" "$STACK_EPMD_PORT"
        touch "$STACK_SERVER/created"
    fi
    rabbitmq_start "$STACK_SERVER/rabbitmq"
    postgres_start "$STACK_SERVER/primary" "$STACK_PRIMARY_PORT" || return 1
    postgres_start "$STACK_SERVER/replica" "$STACK_REPLICA_PORT" || return 1
    for side in "$DATABASE_URL" "$REPLICA_DATABASE_URL"; do
        if ! stack_sql "${side%/*}/postgres" -tA -c 'SELECT datname FROM pg_database' | grep -xF "${side##*/}" >/dev/null; then
            stack_sql "${side%/*}/postgres" -q -c "CREATE DATABASE ${side##*/}"
        fi
        stack_sql "$side" -q -c 'SET client_min_messages = warning' -c 'CREATE EXTENSION IF NOT EXISTS parking CASCADE'
    done
    rabbitmq_wait "$STACK_SERVER/rabbitmq" "$STACK_RABBITMQ_PORT"
}

stack_sql() { # URL PSQL-ARGUMENT...
    local url=$1
    shift
    "$PG_BIN/psql" -X -v ON_ERROR_STOP=1 "$url" "$@"
}

# stack_replicator DIRECTORY relay|apply PORT: start it under a supervisor if that does not run.
stack_replicator() {
    local file=$1/$2 prefix=(env -C /)
    if is_running "$file.process"; then return; fi
    # Without its supervisor nobody would start it again: take over with both anew.
    stop_recorded "$STACK_SERVER/$2.child" 5
    if is_root; then prefix=(env -C / setpriv --reuid=postgres --regid=postgres --init-groups --); fi
    start_process "$file.process" "$STACK_SERVER/$2.log" "${prefix[@]}" \
        "$CQRS_WORK/bin/supervise" "$STACK_SERVER/$2.child" \
        "$CQRS_REPLICATOR" "$2" --listen "127.0.0.1:$3"
}

stack_healthy() { curl -fsS -m 5 -o /dev/null "$1/health" 2>/dev/null; }

stack_live() {
    [[ $(stack_sql "$REPLICA_DATABASE_URL" -tA 2>/dev/null \
        -c "SELECT state FROM cqrs.subscription_status WHERE prefix = 'parking'") == live ]]
}

# stack_up DIRECTORY: start what is not there or has died, and wait until events flow.
stack_up() {
    local directory=$1 part
    stack_settings "$directory"
    stack_databases || return 1
    # By rename: another child may be about to execute it.
    install -m 755 "$CQRS_ROOT/scripts/lib/supervise.sh" "$CQRS_WORK/bin/supervise.$$"
    mv -f "$CQRS_WORK/bin/supervise.$$" "$CQRS_WORK/bin/supervise"
    stack_replicator "$directory" relay "$STACK_RELAY_PORT"
    stack_replicator "$directory" apply "$STACK_APPLY_PORT"
    if wait_until 60 stack_healthy "$ADMIN_URL" && wait_until 60 stack_healthy "$APPLY_ADMIN_URL" &&
        wait_until 60 stack_live; then
        return
    fi
    for part in relay apply; do
        note "--- $STACK_SERVER/$part.log"
        tail -20 "$STACK_SERVER/$part.log" >&2
    done
    curl -s -m 5 "$ADMIN_URL/health" "$APPLY_ADMIN_URL/health" >&2 || true
    note "the stack has not become healthy"
    return 1
}

# stack_down DIRECTORY [fast|immediate]
stack_down() {
    local directory=$1 mode=${2:-fast} part
    if [[ ! -e $directory/settings ]]; then return; fi
    stack_load "$directory"
    for part in relay apply; do
        stop_recorded "$directory/$part.process" 10
        stop_recorded "$STACK_SERVER/$part.child" 5
    done
    postgres_stop "$STACK_SERVER/primary" "$mode" &
    postgres_stop "$STACK_SERVER/replica" "$mode"
    wait $! || true
    if [[ $mode == immediate && -e $STACK_SERVER/rabbitmq/server.process ]]; then
        local pid
        if pid=$(recorded_process "$STACK_SERVER/rabbitmq/server.process"); then kill -KILL "$pid" || true; fi
    fi
    rabbitmq_stop "$STACK_SERVER/rabbitmq"
}

stack_processes() { # DIRECTORY
    local part pid
    for part in primary replica; do
        pid=$(postgres_pid "$STACK_SERVER/$part") || pid=down
        printf '%-10s %s\n' "$part" "$pid"
    done
    pid=$(recorded_process "$STACK_SERVER/rabbitmq/server.process") || pid=down
    printf '%-10s %s\n' rabbitmq "$pid"
    for part in relay apply; do
        pid=$(recorded_process "$STACK_SERVER/$part.child") || pid=down
        printf '%-10s %s\n' "$part" "$pid"
    done
}
