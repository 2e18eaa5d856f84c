"""Postgres' own logical replication, subscriber and publisher on a pair of servers of its own."""

import dataclasses

import catchup
from database import Database, wait_for


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of a subscription. streaming: large transactions are sent before their commit."""

    binary: bool = True
    streaming: str = "off"

    def __str__(self):
        more = "" if self.streaming == "off" else f", streaming {self.streaming}"
        return f"binary {'on' if self.binary else 'off'}{more}"


class Native:
    name = "native"

    def __init__(self, rig, replicas=1, settings=Settings()):
        self.settings = settings
        self.primary = Database(rig.native_primary, "peer")
        self.replicas = [Database(rig.native_replica, f"peer{i}") for i in range(1, replicas + 1)]

    def subscriptions(self):
        return enumerate(self.replicas, 1)

    def prepare(self, table, fill):
        for database in (self.primary, *self.replicas):
            database.create()
            database.run(table)
        fill(self.primary)
        self.primary.run("CREATE PUBLICATION bench FOR TABLE slots, mark")
        self.subscribe()
        wait_for("first copy", self.copied, pause=0.05)

    def subscribe(self):
        for i, replica in self.subscriptions():
            replica.run(
                f"CREATE SUBSCRIPTION bench{i} CONNECTION '{self.primary.url}' PUBLICATION bench "
                f"WITH (binary = {self.settings.binary}, streaming = {self.settings.streaming})"
            )

    def copied(self):
        return all(
            replica.value(
                "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel r "
                "JOIN pg_subscription s ON s.oid = srsubid AND s.subdbid = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            for replica in self.replicas
        )

    def start(self):
        for i, replica in self.subscriptions():
            replica.run(f"ALTER SUBSCRIPTION bench{i} ENABLE")

    def stop(self):
        for i, replica in self.subscriptions():
            replica.run(f"ALTER SUBSCRIPTION bench{i} DISABLE")
        wait_for(
            "the subscribers' end",
            lambda: not self.pids()["walsender"] and not self.pids()["apply worker"],
        )

    def pids(self):
        found = {
            "walsender": [
                row[0]
                for row in self.primary.run(
                    "SELECT active_pid FROM pg_replication_slots "
                    "WHERE database = current_database() AND active"
                )
            ],
            "apply worker": [],
        }
        for i, replica in self.subscriptions():
            found["apply worker"] += [
                row[0]
                for row in replica.run(
                    "SELECT pid FROM pg_stat_subscription WHERE subname = %s AND pid IS NOT NULL",
                    f"bench{i}",
                )
            ]
        return found

    def remove(self):
        for i, replica in self.subscriptions():
            replica.run(f"DROP SUBSCRIPTION IF EXISTS bench{i}")
        for database in (self.primary, *self.replicas):
            database.drop()


def best_native(rig, workload):
    """The best settings for this workload: tried once each. Streaming concerns large transactions alone."""
    choices = [Settings(binary=True), Settings(binary=False)]
    if workload.per_transaction == workload.count:
        version = int(Database(rig.native_primary).value("SHOW server_version_num"))
        choices.append(Settings(streaming="parallel" if version >= 160000 else "on"))
    rates = {each: catchup.run(Native(rig, settings=each), workload)["rate"] for each in choices}
    return max(rates, key=rates.get)
