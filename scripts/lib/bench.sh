# The servers of scripts/bench: a primary and a replica for pg_cqrs, another pair for native
# replication, a third for pglogical, one RabbitMQ; new at every run. Sourced after common.sh, build.sh, postgres.sh and rabbitmq.sh.
# shellcheck shell=bash

BENCH=$CQRS_WORK/bench
BENCH_CLUSTERS=(primary replica native-primary native-replica)

# The same on both sides. What a user would not get by default is said in the table: bench/report.py.
# Native's launcher starts workers only so often (wal_retrieve_retry_interval): with the default of 5 s
# a catch-up would mostly measure its wait for the worker.
bench_conf() {
    cat <<-CONF
		max_connections = 200
		max_wal_senders = 30
		max_replication_slots = 60
		max_worker_processes = 60
		max_logical_replication_workers = 30
		max_sync_workers_per_subscription = 2
		max_wal_size = 8GB
		checkpoint_timeout = 1h
		autovacuum = off
		wal_retrieve_retry_interval = 10ms
	CONF
}

# The peers may have been installed after the server was copied.
bench_peers() {
    local file
    for file in "$("$PG_CONFIG" --pkglibdir)"/{wal2json,pglogical,pglogical_output}.so; do
        if [[ -e $file ]]; then cp -u "$file" "$PG_LIB"; fi
    done
    for file in "$("$PG_CONFIG" --sharedir)"/extension/pglogical{.control,--*.sql}; do
        if [[ -e $file ]]; then cp -u "$file" "$PG_SHARE/extension"; fi
    done
    chmod -R go+rX "$PG_STAGE"
    # On servers of its own: its supervisor keeps DROP DATABASE waiting for ever.
    if [[ -e $PG_LIB/pglogical.so ]]; then BENCH_CLUSTERS+=(pglogical-primary pglogical-replica); fi
}

bench_allow_plugins() { # DIRECTORY
    if as_server grep -q '^output_plugin_libraries' "$1/postgresql.conf"; then
        echo "output_plugin_libraries = 'pgoutput, test_decoding, pg_cqrs, wal2json, pglogical_output'" |
            as_server tee -a "$1/postgresql.conf" >/dev/null
    fi
}

bench_up() {
    local name port server=$BENCH/server password
    bench_down
    rm -rf "$BENCH"
    mkdir -p "$BENCH"
    own_directory "$server"
    password=$(random_word)
    printf '%s\n' "$password" | as_server tee "$server/password" >/dev/null
    for name in "${BENCH_CLUSTERS[@]}"; do
        postgres_init "$server/$name" "$server/password"
        bench_conf | as_server tee -a "$server/$name/postgresql.conf" >/dev/null
        if [[ $name == pglogical-* ]]; then
            echo "shared_preload_libraries = 'pglogical'" | as_server tee -a "$server/$name/postgresql.conf" >/dev/null
        fi
        bench_allow_plugins "$server/$name"
    done
    as_server rm -f "$server/password"
    free_port rabbitmq_port
    free_port dist_port
    free_port epmd_port
    # shellcheck disable=SC2154
    rabbitmq_init "$server/rabbitmq" "$password" "$rabbitmq_port" "$dist_port" "$epmd_port"
    rabbitmq_start "$server/rabbitmq" "$rabbitmq_port"
    for name in "${BENCH_CLUSTERS[@]}"; do
        free_port port
        postgres_start "$server/$name" "$port"
        name=${name^^}
        export "BENCH_${name//-/_}=postgresql://postgres:$password@127.0.0.1:$port"
    done
    rabbitmq_wait "$server/rabbitmq" "$rabbitmq_port"
    export BENCH_BROKER="amqp://guest:$password@127.0.0.1:$rabbitmq_port/%2F"
    BENCH_BROKER_PID=$(recorded_process "$server/rabbitmq/server.process")
    export BENCH_BROKER_PID BENCH PG_BIN PG_LIB CQRS_REPLICATOR
}

bench_down() {
    local name
    if [[ ! -d $BENCH/server ]]; then return; fi
    for name in "${BENCH_CLUSTERS[@]}"; do postgres_stop "$BENCH/server/$name" immediate; done
    rabbitmq_stop "$BENCH/server/rabbitmq"
}
