"""pglogical on a pair of servers of its own; its default settings (batch inserts on)."""

import itertools

import psycopg2.extensions

from database import Database, wait_for

_numbers = itertools.count(1)


def dsn(database):
    """pglogical keeps keyword strings, and compares them."""
    parts = psycopg2.extensions.parse_dsn(database.url)
    return psycopg2.extensions.make_dsn(**parts)


class Pglogical:
    name = "pglogical"

    def __init__(self, rig, replicas=1):
        assert replicas == 1
        # Never dropped: DROP DATABASE would wait for pglogical's supervisor for ever.
        run = next(_numbers)
        self.primary = Database(rig.pglogical_primary, f"peer{run}")
        self.replicas = [Database(rig.pglogical_replica, f"peer{run}")]

    def prepare(self, table, fill):
        for database in (self.primary, *self.replicas):
            database.create()
            database.run("CREATE EXTENSION pglogical")
            database.run(table)
        fill(self.primary)
        (replica,) = self.replicas
        self.primary.run("SELECT pglogical.create_node('p', %s)", dsn(self.primary))
        for name in ("slots", "mark"):
            self.primary.run("SELECT pglogical.replication_set_add_table('default', %s)", name)
        replica.run("SELECT pglogical.create_node('r', %s)", dsn(replica))
        replica.run(
            "SELECT pglogical.create_subscription('bench', %s, ARRAY['default'])", dsn(self.primary)
        )
        wait_for(
            "first copy",
            lambda: replica.value(
                "SELECT count(*) = 2 AND bool_and(status = 'replicating') FROM "
                "(SELECT status FROM pglogical.show_subscription_status() "
                " UNION ALL SELECT 'replicating' WHERE (SELECT bool_and(sync_status = 'r') "
                " FROM pglogical.local_sync_status WHERE sync_relname IS NOT NULL)) s"
            ),
            pause=0.05,
        )

    def start(self):
        self.replicas[0].run("SELECT pglogical.alter_subscription_enable('bench', true)")

    def stop(self):
        self.replicas[0].run("SELECT pglogical.alter_subscription_disable('bench', true)")
        wait_for("the subscriber's end", lambda: not self.pids()["walsender"])

    def pids(self):
        return {
            "walsender": [
                row[0]
                for row in self.primary.run(
                    "SELECT active_pid FROM pg_replication_slots "
                    "WHERE database = current_database() AND active"
                )
            ],
            "apply worker": [
                row[0]
                for row in self.replicas[0].run(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                    "AND backend_type LIKE 'pglogical apply%%'"
                )
            ],
        }

    def remove(self):
        replica = self.replicas[0]
        replica.run("SELECT pglogical.drop_subscription('bench', true)")
        replica.run("SELECT pglogical.drop_node('r', true)")
        self.primary.run("SELECT pglogical.drop_node('p', true)")
        self.primary.run(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            "WHERE database = current_database() AND NOT active"
        )
        for database in (self.primary, *self.replicas):
            database.run("TRUNCATE slots")
            database.close()
