"""Decoding alone: a walsender with each output plugin, read by pg_recvlogical into /dev/null."""

import subprocess
import time

from database import Database, wait_for
from processes import cpu_seconds

PLUGINS = {
    "pg_cqrs": ["format=frame"],
    "pgoutput": ["proto_version=1", "publication_names=bench", "binary=true"],
    "wal2json": ["format-version=1"],
    "test_decoding": [],
}


class Decoding:
    """One database and one written workload; each run decodes it from a copy of the plugin's slot."""

    def __init__(self, rig, workload):
        self.rig, self.workload = rig, workload
        self.database = Database(rig.primary, "decoding")
        self.end = None

    def __enter__(self):
        database, workload = self.database, self.workload
        database.create()
        database.run("CREATE EXTENSION pg_cqrs")
        database.run(workload.shape.table)
        database.run("SELECT cqrs.publish('slots', 'bench.slot')")
        database.run("CREATE PUBLICATION bench FOR TABLE slots")
        for plugin in PLUGINS:
            if plugin == "pgoutput" or self.rig.has_plugin(plugin):
                database.run(f"SELECT pg_create_logical_replication_slot('source_{plugin}', '{plugin}')")
        workload.write(database)
        database.run("CHECKPOINT")
        self.end = database.value("SELECT pg_current_wal_lsn()")
        return self

    def __exit__(self, *_):
        for (slot,) in self.database.run(
            "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
        ):
            wait_for("slot is free", lambda: self.drop(slot))
        self.database.drop()

    def drop(self, slot):
        return self.database.value(
            "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots "
            "WHERE slot_name = %s AND NOT active",
            slot,
        )

    def run(self, plugin):
        database = self.database
        database.run(f"SELECT pg_copy_logical_replication_slot('source_{plugin}', 'run')")
        options = [word for option in PLUGINS[plugin] for word in ("-o", option)]
        begin = time.monotonic()
        reader = subprocess.Popen(
            [self.rig.programs / "pg_recvlogical", "-d", database.url, "-S", "run", "--start"]
            + ["--no-loop", "-f", "/dev/null", *options]
        )
        try:
            pid = None

            def done():
                nonlocal pid
                row = database.run(
                    "SELECT pid, sent_lsn >= %s FROM pg_stat_replication "
                    "WHERE application_name = 'pg_recvlogical'",
                    self.end,
                )
                if row:
                    pid = row[0][0]
                return row and row[0][1]

            wait_for(f"decoding with {plugin}", done, 120)
            seconds, cpu = time.monotonic() - begin, cpu_seconds(pid)
        finally:
            reader.terminate()
            reader.wait()
        wait_for("slot is free", lambda: self.drop("run"))
        count = self.workload.count
        return {"rate": count / seconds, "cpu": {"walsender": 1e6 * cpu / count}}
