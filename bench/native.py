"""Postgres' own logical replication, subscriber and publisher on a pair of servers of its own."""

from database import Database, wait_for


class Native:
    name = "native"

    def __init__(self, rig, replicas=1, binary=True):
        self.binary = binary
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
                f"WITH (binary = {str(self.binary).lower()}, streaming = off)"
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
