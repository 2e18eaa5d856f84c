"""Connections to the servers of scripts/bench."""

import time

import psycopg2


class Database:
    """One database of one cluster; statements are transactions of their own."""

    def __init__(self, cluster, name="postgres"):
        self.cluster, self.name = cluster, name
        self._connection = None

    @property
    def url(self):
        return f"{self.cluster}/{self.name}"

    @property
    def connection(self):
        if self._connection is None:
            self._connection = psycopg2.connect(self.url, application_name="cqrs bench")
            self._connection.autocommit = True
        return self._connection

    def run(self, sql, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql, *values):
        rows = self.run(sql, *values)
        return rows[0][0] if rows else None

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def create(self):
        """Anew and empty."""
        admin = Database(self.cluster)
        admin.run(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
        admin.run(f"CREATE DATABASE {self.name}")
        admin.close()

    def drop(self):
        self.close()
        admin = Database(self.cluster)
        admin.run(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
        admin.close()


class TooSlow(Exception):
    """A case did not end within its limit."""


def wait_for(what, condition, limit=60, pause=0.01):
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TooSlow(f"{what}: not within {limit} s")
        time.sleep(pause)
