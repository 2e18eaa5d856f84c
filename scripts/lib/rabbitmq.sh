# A private RabbitMQ node: own name, own ports, own epmd, own cookie, loopback only. Sourced.
# shellcheck shell=bash

RABBITMQ_BIN=/usr/lib/rabbitmq/bin

# rabbitmq_init DIRECTORY PASSWORD PORT DIST-PORT EPMD-PORT: user guest with that password.
rabbitmq_init() {
    local directory=$1
    own_directory "$directory"
    as_server tee "$directory/rabbitmq.conf" >/dev/null <<-CONF
		listeners.tcp.1 = 127.0.0.1:$3
		default_user = guest
		default_pass = $2
		loopback_users.guest = true
		log.console.level = info
		log.file = false
		log.console = true
	CONF
    # The node is called NAME@localhost; it resolves even where the host's own name does not.
    echo '{host, {127,0,0,1}, ["localhost"]}. {lookup, [file, native]}.' |
        as_server tee "$directory/inetrc" >/dev/null
    echo '[].' | as_server tee "$directory/enabled_plugins" >/dev/null
    as_server tee "$directory/environment" >/dev/null <<-ENV
		HOME=$directory
		ERL_EPMD_ADDRESS=127.0.0.1
		ERL_EPMD_PORT=$5
		ERL_INETRC=$directory/inetrc
		RABBITMQ_NODENAME=cqrs-$3@localhost
		RABBITMQ_DIST_PORT=$4
		RABBITMQ_CONFIG_FILE=$directory/rabbitmq
		RABBITMQ_ADVANCED_CONFIG_FILE=$directory/none
		RABBITMQ_CONF_ENV_FILE=$directory/none
		RABBITMQ_ENABLED_PLUGINS_FILE=$directory/enabled_plugins
		RABBITMQ_MNESIA_BASE=$directory/data
		RABBITMQ_LOG_BASE=$directory/log
		RABBITMQ_PID_FILE=$directory/pid
		RUNNING_UNDER_SYSTEMD=true
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none -kernel inet_dist_use_interface {127,0,0,1}
		LC_ALL=C.UTF-8
	ENV
}

# in_rabbitmq DIRECTORY COMMAND...: with that node's environment and nobody else's.
in_rabbitmq() {
    local environment
    mapfile -t environment < <(as_server cat "$1/environment")
    shift
    as_server env -i PATH="$PATH:/usr/sbin:/sbin" "${environment[@]}" "$@"
}

rabbitmq_ctl() { # DIRECTORY ARGUMENT...
    local directory=$1
    shift
    in_rabbitmq "$directory" "$RABBITMQ_BIN/rabbitmqctl" --quiet "$@"
}

# start_process PIDFILE LOG COMMAND...: in a session of its own, holding none of our files open.
start_process() {
    local pidfile=$1 log=$2
    shift 2
    (
        exec 8>&- 9>&-
        # Container engines allow a thousand million files, for which Erlang would make tables.
        ulimit -n 65536 2>/dev/null || true
        exec setsid "$@" >>"$log" 2>&1 </dev/null
    ) &
    record_process "$pidfile" $!
    disown $!
}

# rabbitmq_start DIRECTORY PORT: returns at once; rabbitmq_wait waits.
# The environment of the node says RUNNING_UNDER_SYSTEMD: then its script becomes the Erlang VM
# instead of watching over it, and the process we recorded is the broker.
rabbitmq_start() {
    local directory=$1 epmd_port
    epmd_port=$(sed -n 's/^ERL_EPMD_PORT=//p' "$directory/environment")
    if ! is_running "$directory/epmd.process"; then
        start_rabbitmq_process "$directory" epmd epmd -address 127.0.0.1 -port "$epmd_port"
        wait_until 10 port_is_open "$epmd_port" || die "epmd does not start"
    fi
    if ! is_running "$directory/server.process"; then
        start_rabbitmq_process "$directory" server "$RABBITMQ_BIN/rabbitmq-server"
    fi
}

start_rabbitmq_process() { # DIRECTORY NAME COMMAND...
    local directory=$1 name=$2 environment
    shift 2
    mapfile -t environment <"$directory/environment"
    local prefix=(env -C / -i)
    if is_root; then prefix=(env -C / setpriv --reuid=postgres --regid=postgres --init-groups -- env -i); fi
    start_process "$directory/$name.process" "$directory/$name.log" \
        "${prefix[@]}" PATH="$PATH:/usr/sbin:/sbin" "${environment[@]}" "$@"
}

rabbitmq_ready() { # DIRECTORY PORT
    is_running "$1/server.process" || {
        tail -30 "$1/server.log" >&2
        die "RabbitMQ has died at its start"
    }
    port_is_open "$2"
}

rabbitmq_wait() { # DIRECTORY PORT
    wait_until 120 rabbitmq_ready "$1" "$2" || {
        tail -30 "$1/server.log" >&2
        die "RabbitMQ did not get ready in 120 seconds"
    }
}

rabbitmq_stop() { # DIRECTORY
    stop_recorded "$1/server.process" 20
    stop_recorded "$1/epmd.process" 2
}
