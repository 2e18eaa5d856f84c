#!/usr/bin/env python3
"""Writes on the primary and reads it back on the replica, over and over, as an application would.

read_your_writes.py PRIMARY REPLICA ROUNDS MODE    prints JSON: rounds, missed, times in milliseconds

  token    create, then cqrs.token() in the same round trip, wait_for, details
  topic    the same, waiting for topic parking alone
  report   create with cqrs.report_token = on: the token comes as ParameterStatus
  quiet    a transaction without a published change (table unpublished), token, wait_for
  poll     create, then details again and again until the row is there: what waiting is compared with

libpq through ctypes: no driver needs to be installed.
"""

import ctypes
import ctypes.util
import json
import sys
import time

pq = ctypes.CDLL(ctypes.util.find_library("pq"))
for name, result, arguments in [
    ("PQconnectdb", ctypes.c_void_p, [ctypes.c_char_p]),
    ("PQstatus", ctypes.c_int, [ctypes.c_void_p]),
    ("PQerrorMessage", ctypes.c_char_p, [ctypes.c_void_p]),
    ("PQparameterStatus", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_char_p]),
    ("PQsendQuery", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
    ("PQgetResult", ctypes.c_void_p, [ctypes.c_void_p]),
    ("PQresultErrorMessage", ctypes.c_char_p, [ctypes.c_void_p]),
    ("PQntuples", ctypes.c_int, [ctypes.c_void_p]),
    ("PQgetvalue", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
    ("PQclear", None, [ctypes.c_void_p]),
]:
    getattr(pq, name).restype = result
    getattr(pq, name).argtypes = arguments


class Session:
    def __init__(self, url):
        self.connection = pq.PQconnectdb(url.encode())
        if pq.PQstatus(self.connection) != 0:
            sys.exit(pq.PQerrorMessage(self.connection).decode())

    def query(self, sql):
        """The first values of all its statements that returned rows, in one round trip."""
        pq.PQsendQuery(self.connection, sql.encode())
        values = []
        while result := pq.PQgetResult(self.connection):
            if error := pq.PQresultErrorMessage(result):
                sys.exit(error.decode())
            if pq.PQntuples(result):
                values.append(pq.PQgetvalue(result, 0, 0).decode())
            pq.PQclear(result)
        return values

    def parameter(self, name):
        return (pq.PQparameterStatus(self.connection, name.encode()) or b"").decode()


def main(primary_url, replica_url, rounds, mode):
    primary, replica = Session(primary_url), Session(replica_url)
    if mode == "report":
        primary.query("LOAD 'pg_cqrs'; SET cqrs.report_token = on")
    waits, totals, missed = [], [], 0
    for i in range(int(rounds)):
        name = f"{mode} {i}"
        begin = time.perf_counter()
        if mode == "quiet":
            (token,) = primary.query(f"BEGIN; INSERT INTO unpublished VALUES ({i}); COMMIT; SELECT cqrs.token()")
        elif mode in ("token", "topic"):
            uuid, token = primary.query(
                f"BEGIN; SELECT uuid FROM create_parking_slot('{name}'); COMMIT; SELECT cqrs.token()")
        else:
            (uuid,) = primary.query(f"SELECT uuid FROM create_parking_slot('{name}')")
            token = primary.parameter("cqrs.last_token")
        written = time.perf_counter()
        if mode == "poll":
            while not replica.query(f"SELECT name FROM parking_slot_details('{uuid}')"):
                pass
            read = time.perf_counter()
            waits.append(read - written)
        else:
            only = ", topic => 'parking'" if mode == "topic" else ""
            (reached,) = replica.query(f"SELECT cqrs.wait_for('{token}', '60 s'{only})")
            waits.append(time.perf_counter() - written)
            found = mode == "quiet" or replica.query(f"SELECT name FROM parking_slot_details('{uuid}')") == [name]
            read = time.perf_counter()
            missed += reached != "t" or not found
        totals.append(read - begin)

    def figures(seconds):
        ordered = sorted(seconds)
        return {p: round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * q))], 3)
                for p, q in (("p50", 0.5), ("p99", 0.99), ("max", 1))}

    print(json.dumps({"rounds": len(waits), "missed": missed, "wait": figures(waits), "total": figures(totals)}))


main(*sys.argv[1:])
