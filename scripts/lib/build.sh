# Builds: a relocated copy of Postgres with the extension in it, and the replicator. Sourced.
# Nothing is written to the system's Postgres, so no root is needed and nothing is left behind.
# shellcheck shell=bash disable=SC2034

cqrs_jobs() { nproc; }

# run_logged LOG COMMAND...: its output goes to the log and is shown only when it fails.
run_logged() {
    local log=$1
    shift
    if ! "$@" >"$log" 2>&1; then
        tail -60 "$log" >&2
        return 1
    fi
}

# Sets PG_CONFIG, PG_MAJOR, PG_STAGE (root of the copy) and PG_BIN, PG_LIB, PG_SHARE, PG_PGXS in it.
# PG_VARIANT, if set, names a copy beside the usual one: see sanitized.sh.
find_postgres() {
    if [[ -z ${PG_CONFIG:-} ]]; then
        PG_MAJOR=$(installed_postgres) || die "no Postgres 15 or later with its development files"
        PG_CONFIG=/usr/lib/postgresql/$PG_MAJOR/bin/pg_config
    fi
    PG_CONFIG=$(command -v "$PG_CONFIG") || die "PG_CONFIG names no program"
    PG_MAJOR=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
    PG_STAGE=$CQRS_WORK/pg$PG_MAJOR${PG_VARIANT:-}
    PG_BIN=$PG_STAGE$("$PG_CONFIG" --bindir)
    PG_LIB=$PG_STAGE$("$PG_CONFIG" --pkglibdir)
    PG_SHARE=$PG_STAGE$("$PG_CONFIG" --sharedir)
    PG_PGXS=$(dirname "$(dirname "$(dirname "$("$PG_CONFIG" --pgxs)")")")
}

# Copy the server's own tree. A Postgres finds its files relative to its program, so the copy works.
stage_postgres() {
    local version
    version="$("$PG_CONFIG" --version) $(stat -c %Y "$("$PG_CONFIG" --bindir)/postgres")"
    if [[ -e $PG_STAGE/version && $(<"$PG_STAGE/version") == "$version" ]]; then return; fi
    rm -rf "$PG_STAGE" "$CQRS_WORK/extension-$PG_MAJOR${PG_VARIANT:-}"
    mkdir -p "$PG_BIN" "$PG_LIB" "$PG_SHARE"
    cp -R --preserve=mode,timestamps,links "$("$PG_CONFIG" --bindir)/." "$PG_BIN"
    # Bitcode serves inlining by the JIT only, pgxs is used where it is.
    tar -C "$("$PG_CONFIG" --pkglibdir)" --exclude=./bitcode --exclude=./pgxs -cf - . | tar -C "$PG_LIB" --no-same-owner -xf -
    cp -R --preserve=mode,timestamps,links "$("$PG_CONFIG" --sharedir)/." "$PG_SHARE"
    # A pg_cqrs installed in the system must not shine through.
    rm -f "$PG_LIB/pg_cqrs.so" "$PG_SHARE"/extension/{pg_cqrs,parking}{--*.sql,.control}
    chmod -R go+rX "$PG_STAGE"
    echo "$version" >"$PG_STAGE/version"
}

# Out of the tree, through links, so that builds of several users and versions do not mix.
build_extension() {
    local farm=$CQRS_WORK/extension-$PG_MAJOR${PG_VARIANT:-}
    mkdir -p "$farm/extension"
    find "$farm/extension" -type l -delete
    ln -s "$CQRS_ROOT"/extension/{Makefile,*.cpp,*.hpp} "$farm/extension"
    ln -sfn "$CQRS_ROOT/sql" "$farm/sql"
    ln -sfn "$CQRS_ROOT/regress" "$farm/regress"
    local cxx=g++
    if command -v ccache >/dev/null; then cxx='ccache g++'; fi
    run_logged "$farm/build.log" \
        make -C "$farm/extension" -j"$(cqrs_jobs)" PG_CONFIG="$PG_CONFIG" CXX="$cxx" SANITIZE="${PG_SANITIZE:-}" all || {
        note "the extension does not build"
        return 1
    }
    run_logged "$farm/install.log" \
        make -C "$farm/extension" PG_CONFIG="$PG_CONFIG" SANITIZE="${PG_SANITIZE:-}" DESTDIR="$PG_STAGE" install || {
        note "the extension does not install"
        return 1
    }
    chmod -R go+rX "$PG_STAGE"
}

# cmake_build DIRECTORY TARGET CMAKE-OPTION...
cmake_build() {
    local directory=$1 target=$2 options=(-G Ninja)
    shift 2
    # A cache made elsewhere or for another generator cannot be used.
    if [[ -e $directory/CMakeCache.txt ]]; then
        if grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$CQRS_ROOT" "$directory/CMakeCache.txt"; then
            options=()
        else
            rm -rf "$directory"
        fi
    fi
    if command -v ccache >/dev/null; then
        options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
        # One clone's objects serve the next.
        export CCACHE_BASEDIR=$CQRS_ROOT CCACHE_NOHASHDIR=1
    fi
    mkdir -p "$directory"
    run_logged "$directory/configure.log" cmake -S "$CQRS_ROOT" -B "$directory" "${options[@]}" "$@" ||
        return 1
    run_logged "$directory/make.log" cmake --build "$directory" -j "$(cqrs_jobs)" --target "$target"
}

# Sets CQRS_REPLICATOR: a copy of the program where the user of the servers can run it.
build_replicator() {
    CQRS_REPLICATOR=$CQRS_WORK/bin/cqrs-replicator
    cmake_build "$CQRS_ROOT/build" cqrs-replicator || {
        note "the replicator does not build"
        return 1
    }
    if ! cmp -s "$CQRS_ROOT/build/cqrs-replicator" "$CQRS_REPLICATOR"; then
        mkdir -p "$CQRS_WORK/bin"
        # By renaming: the old program may be running.
        cp "$CQRS_ROOT/build/cqrs-replicator" "$CQRS_REPLICATOR.new"
        chmod 755 "$CQRS_WORK/bin" "$CQRS_REPLICATOR.new"
        mv "$CQRS_REPLICATOR.new" "$CQRS_REPLICATOR"
    fi
}

# One builder at a time, from lock_build to unlock_build.
lock_build() {
    exec 8>"$CQRS_WORK/build.lock"
    flock 8
}
unlock_build() { exec 8>&-; }

# build_all: everything a stack needs.
build_all() {
    lock_build
    find_postgres
    stage_postgres
    build_extension || exit 1
    build_replicator || exit 1
    unlock_build
}
