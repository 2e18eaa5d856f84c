"""Looks at the replica at random moments and at the end. What it sees must be a state of the
primary's history, whole; what was lost on purpose must have been noticed, and nothing else."""
import random
import threading
import time

import psycopg2

from model import MARK, TABLES, TOPICS, state_query
from system import wait_until


class Checker(threading.Thread):
    def __init__(self, system, model, seed):
        super().__init__(name="checker", daemon=True)
        self._system, self._model = system, model
        self._rng = random.Random(f"{seed} checker")
        self._stopping = threading.Event()
        self.failures = []
        self.looks = 0
        self.versions_seen = set()

    def fail(self, text):
        if len(self.failures) < 50:
            self.failures.append(text)

    def stop(self):
        self._stopping.set()
        self.join(60)

    def run(self):
        connection = None
        while not self._stopping.wait(self._rng.random() * 0.6):
            try:
                if connection is None:
                    connection = self._system.connect("replica")
                self._look(connection, self._rng.choice(TOPICS))
            except psycopg2.Error:
                connection = None

    def _look(self, connection, topic):
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")  # a fault may hold the table
            cursor.execute(state_query(topic))  # one statement, one snapshot
            row = cursor.fetchone()
        if row is None:  # not copied yet
            return
        self.looks += 1
        self.versions_seen.add((topic, row[0]))
        fault = self._model.fault_with(topic, *row)
        if fault:
            self.fail(f"replica, {topic}: {fault}")

    # ---- progress ------------------------------------------------------------------------------
    def target(self):
        """What the primary has committed: {topic: version}. Waits until it can be asked."""
        def ask():
            rows = [self._system.try_query("primary", f"SELECT topic, version FROM chaos.ledger_{t}") for t in TOPICS]
            return dict(r[0] for r in rows) if all(rows) else None
        target = wait_until(ask, 60)
        if not target:
            raise RuntimeError("the primary cannot be asked")
        return target

    def reached(self, target):
        """The replica shows that much, and of the primary's own history."""
        for topic, version in target.items():
            here = self._system.try_query("replica", f"SELECT version, chain FROM chaos.ledger_{topic}")
            if not here or here[0][0] < version:
                return False
            there = self._system.try_query("primary", "SELECT chain FROM chaos.history WHERE topic = %s AND version = %s", topic, here[0][0])
            if not there or there[0][0] != here[0][1]:
                return False
        return True

    def recovery(self, limit):
        """Seconds until the replica has what is committed now; None beyond the limit."""
        begin = time.monotonic()
        target = self.target()
        if not wait_until(lambda: self.reached(target), limit):
            return None
        return time.monotonic() - begin

    # ---- at rest -------------------------------------------------------------------------------
    def final(self, witness):
        """Nobody writes any more. A list of (check, trouble or None)."""
        checks = []
        for topic in TOPICS:
            primary = self._system.query("primary", state_query(topic))[0]
            replica = wait_until(lambda: self._system.query("replica", state_query(topic)) == [primary] and primary, 30)
            checks.append((f"{topic}: the replica is the primary's state",
                           None if replica else f"{primary} and {self._system.query('replica', state_query(topic))}"))
            checks.append((f"{topic}: the primary's rows are those of its ledger", None if primary[2] == primary[3] else str(primary)))
            for table in TABLES[topic] + [f"ledger_{topic}"]:
                sql = f"SELECT count(*), coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")), '') FROM chaos.{table} t"
                sides = [self._system.query(side, sql)[0] for side in ("primary", "replica")]
                checks.append((f"chaos.{table} is equal, {sides[0][0]} rows", None if sides[0] == sides[1] else str(sides)))
            def positions():
                relay = self._system.query("primary", "SELECT epoch, (topics -> %s ->> 'sequence')::bigint FROM cqrs.relay_state", topic)
                position = self._system.query("replica", "SELECT epoch, sequence FROM cqrs.position WHERE topic = %s", topic)
                seen = witness.last(topic)
                # A topic without an event since the epoch began has no sequence anywhere but on the replica.
                if relay and position and relay[0][1] is None:
                    return position[0] == (relay[0][0], 0)
                return relay == position == [seen]
            equal = wait_until(positions, 30)
            checks.append((f"{topic}: position, relay_state and the last event are the same", None if equal else
                           str([self._system.query("primary", "SELECT epoch, topics FROM cqrs.relay_state"),
                                self._system.query("replica", "SELECT epoch, sequence FROM cqrs.position WHERE topic = %s", topic), witness.last(topic)])))
        marks = self._system.query("replica", "SELECT (SELECT count(*) FROM chaos.account a WHERE a::text LIKE %s) + "
                                   "(SELECT count(*) FROM chaos.entry e WHERE e::text LIKE %s)", f"%{MARK}%", f"%{MARK}%")[0][0]
        checks.append(("nothing of a transaction that rolled back", None if marks == 0 else f"{marks} rows"))
        spool = self._system.query("replica", "SELECT count(*) FROM cqrs.spool")[0][0]
        checks.append(("the spool is empty", None if spool == 0 else f"{spool} messages"))
        return checks
