"""pg_cqrs, one relay and an applier a replica, driven the way a user would."""

import itertools
import os
import pwd
import signal
import subprocess

import pika

from database import Database, wait_for

_numbers = itertools.count(1)


def server_user():
    """Root's servers run as postgres (scripts/lib/common.sh)."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Ours:
    name = "pg_cqrs"

    def __init__(self, rig, replicas=1, compress="none"):
        self.rig, self.compress = rig, compress
        self.primary = Database(rig.primary, "bench")
        self.replicas = [Database(rig.replica, f"bench{i}") for i in range(1, replicas + 1)]
        run = next(_numbers)
        self.queues = [f"r{run}x{i}" for i in range(1, replicas + 1)]
        self._relay, self._appliers, self._logs = None, [], []

    def prepare(self, table, fill):
        """Tables on all sides, first copies made, then relay and appliers stopped."""
        for database in (self.primary, *self.replicas):
            database.create()
            database.run("CREATE EXTENSION pg_cqrs")
            database.run(table)
        fill(self.primary)
        self.primary.run("SELECT cqrs.publish('slots', 'bench.slot')")
        self.primary.run("SELECT cqrs.publish('mark', 'bench.mark')")
        for replica in self.replicas:
            replica.run("SELECT cqrs.subscribe('bench.slot', 'slots')")
            replica.run("SELECT cqrs.subscribe('bench.mark', 'mark')")
        self.start()
        for replica in self.replicas:
            wait_for(
                "first copy",
                lambda: replica.value(
                    "SELECT count(*) = 2 AND bool_and(sequence IS NOT NULL) "
                    "FROM cqrs.subscription_status WHERE state = 'live'"
                ),
                pause=0.05,
            )

    def _spawn(self, replica, name, *arguments):
        return subprocess.Popen(
            [self.rig.replicator, *arguments, "--listen", "none"], **self._surroundings(replica, name)
        )

    def _surroundings(self, replica, name):
        """What a process gets: a log of its own, settings, the servers' user."""
        log = open(self.rig.log(name), "ab")
        self._logs.append(log)
        urls = {"DATABASE_URL": self.primary.url, "RABBITMQ_BROKER_URL": self.rig.broker}
        if replica:
            urls["REPLICA_DATABASE_URL"] = replica.url
        return {
            "stdin": subprocess.DEVNULL,
            "stdout": log,
            "stderr": log,
            "cwd": "/",
            "env": {"PATH": os.environ["PATH"], **urls},
            **server_user(),
        }

    def start_relay(self):
        self._relay = self._spawn(None, "relay", "relay", "--compress", self.compress)

    def start(self):
        self.start_relay()
        self._appliers = [
            self._spawn(replica, f"apply-{i}", "apply", "--name", queue)
            for i, (queue, replica) in enumerate(zip(self.queues, self.replicas), 1)
        ]

    def add_replica(self, limit):
        """The first one, with tables; returns when it is live."""
        subprocess.run(
            [self.rig.replicator, "add-replica", self.queues[0], "--create-tables"],
            check=True,
            timeout=limit,
            **self._surroundings(self.replicas[0], "add-replica"),
        )

    def stop(self):
        running = [p for p in (self._relay, *self._appliers) if p]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._relay, self._appliers = None, []
        for log in self._logs:
            log.close()
        self._logs = []

    def pids(self):
        """Process ids by stage, as far as they are there."""
        found = {
            "walsender": [
                row[0]
                for row in self.primary.run(
                    "SELECT active_pid FROM pg_replication_slots "
                    "WHERE database = current_database() AND active"
                )
            ],
            "relay": [self._relay.pid] if self._relay else [],
            "broker": [self.rig.broker_pid],
            "applier": [process.pid for process in self._appliers],
            "replica backend": [],
        }
        for replica in self.replicas:
            found["replica backend"] += [
                row[0]
                for row in replica.run(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                    "AND application_name LIKE 'cqrs%%apply%%'"
                )
            ]
        return found

    def remove(self):
        self.stop()
        for slot, _ in self.primary.run(
            "SELECT slot_name, pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            "WHERE database = current_database() AND NOT active"
        ):
            pass
        connection = pika.BlockingConnection(pika.URLParameters(self.rig.broker))
        for queue in self.queues:
            connection.channel().queue_delete(f"cqrs.{queue}.bench")
        connection.close()
        oid = "SELECT oid FROM pg_database WHERE datname = current_database()"
        gone = [replica.value(oid) for replica in self.replicas]
        for database in (self.primary, *self.replicas):
            database.drop()
        # They belong to the server, which has few of them.
        for number in gone:
            Database(self.rig.replica).run(
                "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin "
                "WHERE starts_with(roname, %s)",
                f"cqrs_{number}_",
            )
