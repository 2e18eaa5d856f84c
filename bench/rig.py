"""Where the servers are: what scripts/lib/bench.sh has started."""

import os
import pathlib
import subprocess


class Rig:
    def __init__(self):
        self.primary = os.environ["BENCH_PRIMARY"]
        self.replica = os.environ["BENCH_REPLICA"]
        self.native_primary = os.environ["BENCH_NATIVE_PRIMARY"]
        self.native_replica = os.environ["BENCH_NATIVE_REPLICA"]
        self.pglogical_primary = os.environ.get("BENCH_PGLOGICAL_PRIMARY")
        self.pglogical_replica = os.environ.get("BENCH_PGLOGICAL_REPLICA")
        self.broker = os.environ["BENCH_BROKER"]
        self.broker_pid = int(os.environ["BENCH_BROKER_PID"])
        self.replicator = os.environ["CQRS_REPLICATOR"]
        self.round_trip = os.environ.get("BENCH_ROUND_TRIP")
        self.programs = pathlib.Path(os.environ["PG_BIN"])
        self.libraries = pathlib.Path(os.environ["PG_LIB"])
        self.directory = pathlib.Path(os.environ["BENCH"])

    def log(self, name):
        return self.directory / f"{name}.log"

    def has_plugin(self, name):
        return (self.libraries / f"{name}.so").exists()

    def version(self):
        return subprocess.check_output([self.programs / "postgres", "--version"], text=True).strip()
