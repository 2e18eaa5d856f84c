"""Catch-up: everything is written while nobody reads; then how long until the last row is visible."""

import time

from database import wait_for
from processes import Stages, peak_rss

LIMIT = 180  # seconds that one catch-up may take


def same_rows(system):
    """A benchmark of something that loses rows is none."""
    digest = "SELECT count(*), coalesce(sum(hashtext(s::text)::bigint), 0) FROM slots s"
    expected = system.primary.run(digest)
    for replica in system.replicas:
        found = replica.run(digest)
        if found != expected:
            raise AssertionError(f"{system.name}: {replica.name} has {found}, not {expected}")


def run(system, workload, limit=LIMIT):
    """One run; gives {"rate": rows/s, "seconds", "cpu": {stage: us a row}, "rss": {stage: bytes}}."""
    try:
        system.prepare(workload.shape.table, workload.fill)
        system.stop()
        workload.write(system.primary)
        for database in (system.primary, *system.replicas):
            database.run("CHECKPOINT")
        stages = Stages()
        stages.start(system.pids())
        begin = time.monotonic()
        system.start()
        missing = list(system.replicas)

        def all_there():
            while missing and missing[-1].value("SELECT count(*) FROM mark"):
                missing.pop()
            return not missing

        wait_for(f"{system.name}: catch-up", all_there, limit)
        seconds = time.monotonic() - begin
        pids = system.pids()
        used = stages.stop(pids)
        rss = {stage: max(map(peak_rss, each), default=0) for stage, each in pids.items()}
        same_rows(system)
        return {
            "rate": workload.count / seconds,
            "seconds": seconds,
            "cpu": {stage: 1e6 * cpu / workload.count for stage, cpu in used.items()},
            "rss": rss,
        }
    finally:
        system.remove()

