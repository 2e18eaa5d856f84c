#!/usr/bin/env python3
"""Statements interrupted at random moments, over and over, in one session each: does its memory grow?

interrupts.py PRIMARY REPLICA ROUNDS SEED

For each place: half of the rounds end by pg_cancel_backend(), half by statement_timeout (a walsender
knows none: all by cancel), in the same backend; a tenth as many more by pg_terminate_backend(), in
new ones. Prints a line of JSON a place: rounds by outcome, what grew in pg_backend_memory_contexts
(bytes in use) and in the resident set (kB of its own). An error that is no interrupt ends it.
"""
import concurrent.futures
import json
import random
import select
import statistics
import sys
import threading
import time

import psycopg2
import psycopg2.extras
from psycopg2 import errors

SLOT = "interrupts"
primary, replica, rounds, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)
helper = concurrent.futures.ThreadPoolExecutor(1)


def connect(url, **options):
    connection = psycopg2.connect(url, **options)
    connection.autocommit = True
    return connection


def ask(connection, sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else None


class Place:
    """A session that does one thing. `late`: an error of its own that ends it, too."""

    walsender = False

    def __init__(self, name, url, sql, prepare=(), before=None, late=None):
        self.name, self.url, self.sql = name, url, sql
        self.prepare, self.before, self.late = prepare, before, late
        self.control = connect(url)

    def open(self):
        self.connection = connect(self.url)
        for statement in self.prepare:
            ask(self.connection, statement)
        self.pid = self.connection.info.backend_pid

    def close(self):
        self.connection.close()

    def settle(self):
        """Nothing is on its way to the session any more."""
        while True:
            try:
                return ask(self.connection, "SET statement_timeout = 0")
            except errors.QueryCanceled:
                pass

    def run(self):
        if self.before:
            ask(self.connection, self.before)
        try:
            ask(self.connection, self.sql)
        except psycopg2.Error as error:
            if not self.late or error.pgcode != self.late:
                raise

    def interrupt(self, function, after):
        time.sleep(after)
        ask(self.control, f"SELECT {function}(%s)", self.pid)

    def round(self, way):
        after = rng.uniform(0, 1.1 * self.seconds)
        try:
            if way == "timeout":
                ask(self.connection, f"SET statement_timeout = {max(1, round(after * 1000))}")
                self.run()
                return False
            done = helper.submit(self.interrupt, "pg_cancel_backend" if way == "cancel" else "pg_terminate_backend", after)
            try:
                self.run()
            finally:
                done.result()
            return False
        except errors.QueryCanceled:
            return True
        except psycopg2.Error:
            # 57P01, or what libpq makes of a closed socket.
            if way != "terminate":
                raise
            return True

    def memory(self):
        contexts = ask(self.connection, "SELECT name, sum(used_bytes)::bigint FROM pg_backend_memory_contexts GROUP BY 1")
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            rss = next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
        return dict(contexts), rss

    def whole(self):
        """Not interrupted: what a session keeps is there afterwards."""
        self.run()

    def calibrate(self):
        taken = []
        for _ in range(3):
            begin = time.monotonic()
            self.whole()
            taken.append(time.monotonic() - begin)
        self.seconds = statistics.median(taken)

    def measure(self):
        ways = ["cancel"] if self.walsender else ["cancel", "timeout"]
        self.open()
        self.calibrate()
        for i in range(max(10, rounds // 10)):  # caches, and malloc's own idea of how much to keep
            self.round(ways[i % len(ways)])
            self.settle()
        self.whole()
        contexts, rss = self.memory()
        cut = {way: 0 for way in [*ways, "terminate"]}
        for i in range(rounds):
            cut[ways[i % len(ways)]] += self.round(ways[i % len(ways)])
            self.settle()
        self.whole()
        after, rss_after = self.memory()
        grown = {name: used - contexts.get(name, 0) for name, used in after.items() if used > contexts.get(name, 0)}
        self.close()
        for _ in range(max(5, rounds // 10)):
            self.open()
            cut["terminate"] += self.round("terminate")
            self.close()
        print(json.dumps({"place": self.name, "rounds": rounds, "milliseconds": round(self.seconds * 1000), "cut": cut,
                          "bytes": sum(after.values()) - sum(contexts.values()), "kb": rss_after - rss, "grown": grown}), flush=True)


class Walsender(Place):
    """Streams until it is interrupted, at the latest while it waits for more."""

    walsender = True
    ended = threading.Event()

    def open(self):
        self.connection = psycopg2.connect(self.url, connection_factory=psycopg2.extras.LogicalReplicationConnection)
        self.pid = self.connection.info.backend_pid
        self.ended.clear()

    def settle(self):
        ask(self.connection, "SELECT 1")
        self.ended.clear()

    def stream(self, seconds):
        """All that comes within so long."""
        end = time.monotonic() + seconds
        with self.connection.cursor() as cursor:
            cursor.start_replication_expert(f"START_REPLICATION SLOT {SLOT} LOGICAL 0/0 (format 'frame', source '/x', batch_bytes '16384')", decode=False)
            while time.monotonic() < end:
                if not cursor.read_message():
                    select.select([self.connection], [], [], max(0, end - time.monotonic()))

    def run(self):
        try:
            self.stream(60)
        finally:
            self.ended.set()
        raise RuntimeError("the walsender was not interrupted")

    def interrupt(self, function, after):
        """Again, if it came before the stream had begun."""
        super().interrupt(function, after)
        while not self.ended.wait(0.2):
            super().interrupt(function, 0)

    def calibrate(self):
        self.seconds = 0.05
        self.whole()

    def whole(self):
        done = helper.submit(self.interrupt, "pg_cancel_backend", 1)
        try:
            self.run()
        except errors.QueryCanceled:
            done.result()


def places():
    peek = "SELECT count(*), sum(length(data)) FROM pg_logical_slot_peek_{}changes('%s', %%s, NULL, 'format', '{}')" % SLOT
    end = ask(connect(primary), "SELECT pg_current_wal_flush_lsn()")[0][0]
    for kind, format in [("", "text"), ("binary_", "frame")]:
        yield Place(f"decode, {format}", primary, peek.format(kind, format) % f"'{end}'")
    yield Walsender("decode, walsender", primary, None)
    source = ask(connect(primary), "SELECT cqrs.token(any_session => true)")[0][0].rsplit(":", 1)[0]
    yield Place("wait_for", replica, f"SELECT cqrs.wait_for('{source}:7FFFFFFF/0', '15 ms')",
                before="UPDATE cqrs.position SET applied_at = now()")
    read = "SELECT count(*), sum(length(note)) FROM cqrs.read('orders') AS t(id int, note text)"
    yield Place("read", primary, read)
    yield Place("read, own last commit", primary, read, late="CQ001", before="INSERT INTO orders VALUES (DEFAULT, 'mine')",
                prepare=["SET cqrs.read_your_writes = on", "SET cqrs.read_timeout = '15ms'"])
    yield Place("commands", primary, "SELECT count(cqrs.emit('parking.counted', to_jsonb(i))), count(d) FROM generate_series(1, 300) i, create_parking_slot('Slot ' || i) c, "
                "reserve_parking_slot(c.uuid) r, release_parking_slot(r.uuid) f, delete_parking_slot(f.uuid) d",
                prepare=["SET synchronous_commit = off"])


for place in places():
    place.measure()
