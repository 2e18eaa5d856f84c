"""The slot, the disk, locks, and another primary."""
import contextlib
import os
import subprocess
import time

import psycopg2

from fault import fault, seconds
from model import TABLES, TOPICS
from system import wait_until


# ---- the slot ------------------------------------------------------------------------------------
def drop_slot(run):
    def drop():
        with contextlib.suppress(psycopg2.Error):
            run.system.query("primary", "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'cqrs' AND active")
            run.system.query("primary", "SELECT pg_drop_replication_slot('cqrs')")
            return True
    if not wait_until(drop, 30, 0.01):
        raise RuntimeError("the slot cannot be dropped")


@fault("slot dropped", "relay", "primary", "apply", loses="epoch")
def slot_dropped(run):
    before = run.last_incident()
    drop_slot(run)
    run.require_incidents("the slot was dropped", before)


@fault("slot advanced", "relay", "primary", "apply", loses="epoch")
def slot_advanced(run):
    """Somebody else read from it: what was between is lost."""
    before = run.last_incident()
    link = run.system.proxy.links["relay-primary"]
    link.cut()
    try:
        def advance():
            with contextlib.suppress(psycopg2.Error):
                run.system.query("primary", "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'cqrs' AND active")
                return run.system.query("primary", "SELECT pg_replication_slot_advance('cqrs', pg_current_wal_flush_lsn())")
        time.sleep(1)
        if not wait_until(advance, 30, 0.2):
            raise RuntimeError("the slot cannot be advanced")
    finally:
        link.restore()
    run.require_incidents("the slot was advanced", before)


@fault("slot invalidated", "relay", "primary", "apply", loses="epoch")
def slot_invalidated(run):
    """max_slot_wal_keep_size: more WAL than the slot may hold back while the relay is away."""
    before = run.last_incident()
    link = run.system.proxy.links["relay-primary"]
    run.system.query("primary", "ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
    run.system.query("primary", "ALTER SYSTEM SET wal_keep_size = 0")
    run.system.query("primary", "SELECT pg_reload_conf()")
    link.cut()
    try:
        def lost():
            run.system.query("primary", "SELECT pg_logical_emit_message(false, 'chaos', 'x'), pg_switch_wal()")
            run.system.query("primary", "CHECKPOINT")
            return run.system.query("primary", "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = 'cqrs'")[0][0]
        if not wait_until(lost, 60):
            raise RuntimeError("the slot does not become invalid")
    finally:
        run.system.query("primary", "ALTER SYSTEM RESET max_slot_wal_keep_size")
        run.system.query("primary", "ALTER SYSTEM RESET wal_keep_size")
        run.system.query("primary", "SELECT pg_reload_conf()")
        link.restore()
    run.require_incidents("the slot was invalidated", before)


# ---- locks ---------------------------------------------------------------------------------------
def a_table(rng, longest):
    topic = rng.choice(TOPICS)
    return {"topic": topic, "table": rng.choice(TABLES[topic] + [f"ledger_{topic}"]), **seconds(1, 20)(rng, longest)}


@fault("replica lock wait", "replica", "apply", plan=a_table)
def replica_lock_wait(run, topic, table, seconds):
    with contextlib.closing(run.system.connect("replica")) as connection, connection.cursor() as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE chaos.{table} IN ACCESS EXCLUSIVE MODE")
        time.sleep(seconds)
        cursor.execute("ROLLBACK")


@fault("replica deadlock", "replica", "apply", plan=a_table)
def replica_deadlock(run, topic, table, seconds):
    """The applier has the position and wants the table; we have the table and want the position."""
    with contextlib.closing(run.system.connect("replica")) as connection, connection.cursor() as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE chaos.{table} IN ACCESS EXCLUSIVE MODE")
        wait_until(lambda: run.system.query("replica", "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::regclass", f"chaos.{table}"), seconds + 5)
        try:
            cursor.execute("SELECT 1 FROM cqrs.position WHERE topic = %s FOR UPDATE", (topic,))
            outcome = "the applier gave way"
        except psycopg2.errors.DeadlockDetected:
            outcome = "we gave way"
        cursor.execute("ROLLBACK")
    run.note(outcome)


# ---- sessions ------------------------------------------------------------------------------------
@fault("sessions terminated", "relay", "apply")
def sessions_terminated(run):
    for side in ("primary", "replica"):
        run.system.query(side, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'cqrs%'")


# ---- the replica's disk --------------------------------------------------------------------------
class SmallDisk:
    """A file system in memory that holds the replica's tables; filled by a file beside them."""

    def __init__(self, run):
        self.path = run.system.data("small")

    def mount(self, run):
        if os.geteuid() != 0:
            return False
        self.path.mkdir(mode=0o700)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", self.path],
                          capture_output=True).returncode != 0:
            return False
        space = self.path / "space"
        space.mkdir(mode=0o700)
        subprocess.run(["chown", "postgres:postgres", self.path, space], check=True)
        run.system.query("replica", f"CREATE TABLESPACE small LOCATION '{space}'")
        for topic in TOPICS:
            for table in TABLES[topic] + [f"ledger_{topic}"]:
                run.system.query("replica", f"ALTER TABLE chaos.{table} SET TABLESPACE small")
        return True

    def fill(self):
        with open(self.path / "filler", "wb", buffering=0) as filler:
            with contextlib.suppress(OSError):
                while True:
                    filler.write(bytes(65536))

    def free(self):
        (self.path / "filler").unlink(missing_ok=True)

    def unmount(self):
        subprocess.run(["umount", "-l", self.path], capture_output=True)


@fault("replica disk full", "replica", "apply", plan=seconds(2, 20))
def replica_disk_full(run, seconds):
    run.disk.fill()
    try:
        time.sleep(seconds)
    finally:
        run.disk.free()


# ---- another primary -----------------------------------------------------------------------------
@fault("standby promoted", "primary", "relay", "apply", "broker", loses="epoch", plan=seconds(1, 10))
def standby_promoted(run, seconds):
    """A physical standby that lags takes over: what it had not received never happened."""
    system, before = run.system, run.last_incident()
    old = system.primary_name
    new = "standby" if old == "primary" else "primary"
    link = system.proxy.links["standby-primary"]
    link.target = ("127.0.0.1", system.ports[old])
    system.servers("standby", new, system.ports[new], system._url(link.port, "postgres"))
    wait_until(lambda: system.query("primary", "SELECT 1 FROM pg_stat_replication WHERE application_name = 'walreceiver' AND state = 'streaming'"), 30)
    link.cut()
    time.sleep(seconds)
    with system.primary_lock:
        system.servers("postgres", "stop", old, "immediate")
        system.servers("promote", new)
        system.primary_name = new
        for name in ("relay-primary", "apply-primary"):
            system.proxy.links[name].target = ("127.0.0.1", system.ports[new])
            system.proxy.links[name].reset()
    link.restore()
    run.require_incidents("the primary was replaced", before)
