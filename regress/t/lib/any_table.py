#!/usr/bin/env python3
"""Tables of random shapes under random changes: does the replica come to hold the same?

any_table.py PRIMARY REPLICA SEED TABLES TRANSACTIONS

Columns of every type, keys of one to three of them, names that need quotes, generated, dropped and
TOASTed columns, each replica identity, partitions, another column order on the replica; rows from
before and after publish(). Statements that fail (a key twice, NULL in a key) are rolled back to
their savepoint. Prints JSON: counts, the tables that differ, the topics that stopped.
"""
import json
import random
import sys
import time

import psycopg2

from any_value import ALIKE, Values, quoted

LIMIT = 60  # seconds until the replica must have what was committed


def connect(url):
    connection = psycopg2.connect(url)
    connection.autocommit = True
    connection.set_client_encoding("UTF8")
    return connection


def ask(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def identifier(name):
    return '"' + name.replace('"', '""') + '"'


class Table:
    def __init__(self, rng, values, schema, number):
        self.name = f"{schema}.{identifier(rng.choice(['t', 'Tab le', 'ünï', 'q' + chr(34), 'select']) + str(number))}"
        self.number, self.prefix = number, f"{rng.choice(['left', 'middle', 'right'])}.{schema}.t{number}"
        keys = list(ALIKE) * 2 + values.key_types
        size = rng.randrange(1, 4)
        kinds = [rng.choice(keys) for _ in range(size)] + [rng.choice(values.types) for _ in range(rng.randrange(9))]
        names = [identifier(rng.choice(["c", "C ", "ü", '"', "order", "data", "a.b"]) + str(i)) for i in range(len(kinds))]
        self.columns, self.key = dict(zip(names, kinds)), names[:size]
        self.values, self.rng = values, rng
        # Hash partitions need a hash of the type: money, bits and text search have none.
        hashed = not kinds[0].startswith(("money", "bit", "varbit", "ts"))
        self.parts = 3 if hashed and rng.random() < 0.25 else 0
        self.large = rng.random() < 0.4
        self.written = names + ["large"] * self.large

    def create(self, primary, replica):
        rng = self.rng
        columns = [f"{name} {kind}" for name, kind in self.columns.items()] + ["large text"] * self.large
        if rng.random() < 0.3:
            columns.append("made text GENERATED ALWAYS AS ('m') STORED")
        dropped = columns[:]
        dropped.insert(rng.randrange(len(columns) + 1), "dropped int DEFAULT 1")
        key = f"PRIMARY KEY ({', '.join(self.key)})"
        by = f" PARTITION BY HASH ({self.key[0]})" if self.parts else ""
        ask(primary, f"CREATE TABLE {self.name} ({', '.join(dropped)}, {key}){by}")
        ask(replica, f"CREATE TABLE {self.name} ({', '.join(rng.sample(columns, len(columns)))}, {key})")
        parts = [f"{self.name[:-1]} {i}\"" for i in range(self.parts)]
        for i, part in enumerate(parts):
            ask(primary, f"CREATE TABLE {part} PARTITION OF {self.name} FOR VALUES WITH (MODULUS {self.parts}, REMAINDER {i})")
        ask(primary, f"ALTER TABLE {self.name} DROP dropped")
        if self.large:
            ask(primary, f"ALTER TABLE {self.name} ALTER large SET STORAGE EXTERNAL")
        identity = rng.choice(["DEFAULT", "FULL", "INDEX"])
        if identity == "INDEX" and not self.parts:
            ask(primary, f"CREATE UNIQUE INDEX other{self.number} ON {self.name} ({', '.join(self.key)})")
            ask(primary, f"ALTER TABLE {self.name} REPLICA IDENTITY USING INDEX other{self.number}")
        elif identity == "FULL":
            for table in [self.name, *parts]:
                ask(primary, f"ALTER TABLE {table} REPLICA IDENTITY FULL")

    def row(self):
        row = [self.values.familiar(kind) if name in self.key or self.rng.random() < 0.8 else "NULL"
               for name, kind in self.columns.items()]
        if self.large:
            row.append(self.rng.choice(["NULL", f"repeat({quoted(self.values.text(6))}, {self.rng.choice([1, 3000, 20000])})"]))
        return f"({', '.join(row)})"

    def change(self):
        """A statement."""
        rng, choice = self.rng, self.rng.random()
        if choice < 0.5:
            rows = ", ".join(self.row() for _ in range(rng.choice([1, 1, 3, 30])))
            return f"INSERT INTO {self.name} ({', '.join(self.written)}) VALUES {rows} ON CONFLICT DO NOTHING"
        if choice < 0.75:
            some = rng.sample(list(self.columns), rng.randrange(1, min(3, len(self.columns)) + 1))
            new = ", ".join(f"{name} = {self.values.familiar(self.columns[name])}" for name in some)
            return (f"UPDATE {self.name} SET {new} WHERE (tableoid, ctid) IN "
                    f"(SELECT tableoid, ctid FROM {self.name} ORDER BY random() LIMIT {rng.choice([1, 1, 2])})")
        if choice < 0.8:
            return f"UPDATE {self.name} SET {list(self.columns)[-1]} = NULL WHERE random() < 0.3"
        if choice < 0.97:
            return f"DELETE FROM {self.name} WHERE random() < {rng.choice([0.02, 0.1, 0.5])}"
        if choice < 0.985:
            return f"TRUNCATE {self.name}"
        return f"SELECT cqrs.emit('{self.prefix}.happened', to_jsonb({quoted(self.values.text(8))}::text))"

    def digest(self, connection):
        row = f"ROW({', '.join(self.written)})::text"
        return ask(connection, f"SELECT count(*), md5(string_agg(r, ',' ORDER BY r COLLATE \"C\")) FROM (SELECT {row} r FROM {self.name}) t")[0]


def transact(primary, rng, tables, statements):
    failed = 0
    ask(primary, "BEGIN")
    for _ in range(statements):
        ask(primary, "SAVEPOINT s")
        try:
            ask(primary, rng.choice(tables).change())
            if rng.random() < 0.5:
                ask(primary, rng.choice(["ROLLBACK TO s", "RELEASE s", "RELEASE s"]))
        except psycopg2.Error:
            failed += 1
            ask(primary, "ROLLBACK TO s")
    ask(primary, "COMMIT" if rng.random() < 0.93 else "ROLLBACK")
    return failed


def main():
    primary, replica = map(connect, sys.argv[1:3])
    seed, count, transactions = map(int, sys.argv[3:6])
    rng, schema = random.Random(seed), f"any{seed}"
    values = Values(rng, schema)
    for side in (primary, replica):
        ask(side, f"CREATE SCHEMA {schema}; {Values.definitions(schema)}")
    ask(primary, f"SELECT setseed({seed % 1000 / 1000})")
    tables = [Table(rng, values, schema, number) for number in range(count)]
    for table in tables:
        table.create(primary, replica)
        transact(primary, rng, [table], 5)
    for i, table in enumerate(tables):
        ask(primary, f"SELECT cqrs.publish({quoted(table.name)}, '{table.prefix}')")
        ask(replica, f"SELECT cqrs.subscribe('{table.prefix}', {quoted(table.name)})")
        transact(primary, rng, tables[: i + 1], 10)
    done = failed = 0
    for i in range(transactions):
        statements = 400 if i % 50 == 25 else rng.choice([1, 1, 2, 5, 20])
        failed += transact(primary, rng, tables, statements)
        done += statements

    def stopped():
        return ask(replica, "SELECT prefix, error FROM cqrs.subscription_status WHERE state <> 'live'")

    deadline = time.monotonic() + LIMIT
    while stopped() and time.monotonic() < deadline:
        time.sleep(0.2)
    token = ask(primary, "SELECT cqrs.token()")[0][0]
    arrived = not stopped() and ask(replica, f"SELECT cqrs.wait_for('{token}', '{LIMIT} s')")[0][0]
    different = [f"{t.name} {t.columns} {t.key}" for t in tables if t.digest(primary) != t.digest(replica)]
    rows = sum(t.digest(primary)[0] for t in tables)
    print(json.dumps({"statements": done, "failed": failed, "rows": rows, "arrived": arrived,
                      "different": different, "stopped": stopped()}))


main()
