# What has to be installed on Debian 12 or 13, and how to without starting a service. Sourced.
# shellcheck shell=bash

CQRS_BUILD_PACKAGES=(
    g++ make cmake ninja-build pkg-config curl ca-certificates
    libpq-dev librabbitmq-dev liblz4-dev libsimdjson-dev libcli11-dev libspdlog-dev libfmt-dev
    libcpp-httplib-dev prometheus-cpp-dev libgtest-dev
    rabbitmq-server python3 python3-pika
)
CQRS_CHECK_PACKAGES=(perl libipc-run-perl clang-format shellcheck libasan8 libubsan1 valgrind)
CQRS_CHAOS_PACKAGES=(python3-psycopg2)
CQRS_BENCH_PACKAGES=(python3-psycopg2 gnuplot-nox libbenchmark-dev)
# And for the Postgres that is used; what is not there is left out.
CQRS_BENCH_PEERS=(wal2json pglogical)

as_root() {
    if is_root; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root, or sudo, to run: $*"
    fi
}

# The newest installed Postgres that has both a server and the files to build extensions.
installed_postgres() {
    local bin best=
    for bin in /usr/lib/postgresql/*/bin; do
        local major=${bin#/usr/lib/postgresql/}
        major=${major%/bin}
        # Debian's server package brings pgxs along, but not the headers.
        if [[ $major =~ ^[0-9]+$ && -x $bin/postgres && -x $bin/pg_config &&
            -e /usr/lib/postgresql/$major/lib/pgxs/src/makefiles/pgxs.mk &&
            -e /usr/include/postgresql/$major/server/postgres.h ]] &&
            ((major >= 15 && major > ${best:-0})); then
            best=$major
        fi
    done
    [[ -n $best ]] && echo "$best"
}

# missing_packages NAME...: those of them that are not installed.
missing_packages() {
    local name
    for name in "$@"; do
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) != installed ]]; then
            echo "$name"
        fi
    done
}

# clang's own, which its package only recommends; named after its version, as Debian 12's 14.
sanitizer_runtime() {
    local major
    major=$(apt-cache depends clang 2>/dev/null | sed -n 's/^ *Depends: clang-\([0-9]*\)$/\1/p')
    echo "libclang-rt-${major:-14}-dev"
}

# install_packages build|check|chaos|bench|fuzz
install_packages() {
    local wanted=("${CQRS_BUILD_PACKAGES[@]}") missing
    if [[ $1 == check ]]; then wanted+=("${CQRS_CHECK_PACKAGES[@]}"); fi
    if [[ $1 == fuzz ]]; then wanted+=(clang "$(sanitizer_runtime)"); fi
    if [[ $1 != build ]]; then wanted+=("${CQRS_CHAOS_PACKAGES[@]}"); fi
    if [[ $1 == bench ]]; then
        wanted+=("${CQRS_BENCH_PACKAGES[@]}")
        local major
        if major=$(installed_postgres); then wanted+=("${CQRS_BENCH_PEERS[@]/#/postgresql-$major-}"); fi
    fi
    mapfile -t missing < <(missing_packages "${wanted[@]}")
    if [[ -z ${PG_CONFIG:-} ]] && ! installed_postgres >/dev/null; then missing+=(postgresql); fi
    if ((${#missing[@]} == 0)); then return; fi
    command -v apt-get >/dev/null || die "this is not Debian; install yourself: ${missing[*]}"
    # In a process of its own: its trap at exit must not replace that of the script.
    (apt_install "${missing[@]}")
}

apt_install() { # NAME...; "postgresql" comes last
    local missing=("$@") major
    local log=$CQRS_WORK/apt.log apt
    apt=(env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -y -q -o DPkg::Lock::Timeout=600
        -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold)
    as_root "${apt[@]}" update >"$log" 2>&1 || {
        tail -20 "$log" >&2
        die "apt-get update failed"
    }
    if [[ ${missing[-1]} == postgresql ]]; then
        unset 'missing[-1]'
        major=$(apt-cache depends postgresql | sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p')
        [[ -n $major ]] || die "apt does not know which Postgres is current"
        missing+=("postgresql-$major" "postgresql-client-$major" "postgresql-server-dev-$major")
    fi
    note "installing: ${missing[*]}"
    quiet_services
    as_root "${apt[@]}" --no-install-recommends install "${missing[@]}" >>"$log" 2>&1 || {
        tail -30 "$log" >&2
        die "apt-get install failed"
    }
    # The broker that we brought along shall not start with the machine.
    if [[ " ${missing[*]} " == *" rabbitmq-server "* && -d /run/systemd/system ]]; then
        as_root systemctl disable --quiet rabbitmq-server || true
    fi
}

# Our servers are private. Installing the packages must neither create a cluster nor start a broker
# on the default ports: say so to dpkg while it works, and take it back afterwards.
CQRS_POLICY=/usr/sbin/policy-rc.d
CQRS_CLUSTER_CONF=/etc/postgresql-common/createcluster.conf
quiet_services() {
    made_policy=0 made_cluster_conf=0
    trap restore_services EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if [[ ! -e $CQRS_POLICY ]]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$CQRS_POLICY" >/dev/null
        as_root chmod 755 "$CQRS_POLICY"
        made_policy=1
    fi
    if [[ ! -e $CQRS_CLUSTER_CONF ]]; then
        as_root mkdir -p "${CQRS_CLUSTER_CONF%/*}"
        echo 'create_main_cluster = false' | as_root tee "$CQRS_CLUSTER_CONF" >/dev/null
        made_cluster_conf=1
    fi
}

restore_services() {
    trap '' INT TERM
    if ((made_policy)); then as_root rm -f "$CQRS_POLICY"; fi
    if ((made_cluster_conf)); then
        local packaged=/usr/share/postgresql-common/createcluster.conf
        if [[ -e $packaged ]]; then
            as_root cp "$packaged" "$CQRS_CLUSTER_CONF"
            as_root rm -f "$CQRS_CLUSTER_CONF.ucf-dist"
        else
            as_root rm -f "$CQRS_CLUSTER_CONF"
        fi
    fi
}
