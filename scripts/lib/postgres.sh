# Private Postgres clusters from the stage: loopback only, a password of their own. Sourced.
# shellcheck shell=bash

# postgres_init DIRECTORY PASSWORD-FILE
postgres_init() {
    as_server "$PG_BIN/initdb" -D "$1" -U postgres --pwfile="$2" --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 >"${1%/*}/initdb-${1##*/}.log" 2>&1 || {
        cat "${1%/*}/initdb-${1##*/}.log" >&2
        die "initdb failed"
    }
    as_server tee -a "$1/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = '127.0.0.1'
		unix_socket_directories = ''
		wal_level = logical
		max_connections = 100
		log_line_prefix = '%m [%p] %a '
		shared_buffers = 128MB
	CONF
    # Servers since August 2026 refuse an output plugin that is not named here; older ones refuse the name.
    # Not grep -q: it ends early, and with pipefail the server's SIGPIPE would count as "not there".
    if as_server "$PG_BIN/postgres" --describe-config | grep '^output_plugin_libraries[[:space:]]' >/dev/null; then
        echo "output_plugin_libraries = 'pgoutput, test_decoding, pg_cqrs'" |
            as_server tee -a "$1/postgresql.conf" >/dev/null
    fi
}

# The postmaster's process id, if it is really one: a stale pid file may name anybody.
postgres_pid() { # DIRECTORY
    local pid
    { read -r pid <"$1/postmaster.pid"; } 2>/dev/null || return 1
    [[ $pid =~ ^[0-9]+$ ]] && process_start "$pid" >/dev/null || return 1
    # The name in the file system, not the title, which clusters share. As the server's user: root in a
    # container may not look.
    [[ $(as_server readlink "/proc/$pid/exe") == "$PG_BIN/postgres"* ]] || return 1
    [[ $(as_server readlink "/proc/$pid/cwd") == "$1" ]] || return 1
    echo "$pid"
}

# postgres_start DIRECTORY PORT: no harm when it runs already.
postgres_start() {
    local try
    if postgres_pid "$1" >/dev/null; then return; fi
    rm -f "$1/postmaster.pid"
    # After a kill -9 its children need a moment to notice and leave the shared memory. The locks of
    # scripts/stack and of the build (9, 8) must not live on in the server.
    for try in 1 2 3 4 5 6; do
        if as_server "$PG_BIN/pg_ctl" -D "$1" -l "$1.log" -o "-p $2" -w -t 60 start \
            >"$1.start.log" 2>&1 8>&- 9>&-; then
            return
        fi
        if ! tail -5 "$1.log" | grep -q 'pre-existing shared memory'; then break; fi
        sleep 1
    done
    tail -20 "$1.start.log" "$1.log" >&2
    note "Postgres does not start in $1 ($try tries)"
    return 1
}

# postgres_stop DIRECTORY [MODE]
postgres_stop() {
    if postgres_pid "$1" >/dev/null; then
        as_server "$PG_BIN/pg_ctl" -D "$1" -m "${2:-fast}" -w -t 30 stop >/dev/null 2>&1 ||
            as_server "$PG_BIN/pg_ctl" -D "$1" -m immediate -w -t 10 stop >/dev/null 2>&1 || true
    fi
}
