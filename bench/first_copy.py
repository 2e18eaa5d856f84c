"""The first copy of a table that is there already: until the replica is live with all rows."""

import time

from catchup import same_rows
from comparison import compare, in_turns
from database import wait_for
from native import Native
from ours import Ours
from sizes import scaled
from workloads import Shape

LIMIT = 1800  # seconds


def ours(rig, shape, count):
    """add-replica makes the table, too."""
    system = Ours(rig)

    def ready():
        for database in (system.primary, system.replicas[0]):
            database.run("CREATE EXTENSION pg_cqrs")
        system.primary.run("SELECT cqrs.publish('slots', 'bench.slot')")
        system.start_relay()

    return measured(system, shape, count, ready, lambda: system.add_replica(LIMIT))


def native(rig, shape, count):
    system = Native(rig)

    def ready():
        system.replicas[0].run(shape.table)
        system.primary.run("CREATE PUBLICATION bench FOR TABLE slots")

    def copy():
        system.subscribe()
        wait_for("first copy", system.copied, LIMIT)

    return measured(system, shape, count, ready, copy)


def measured(system, shape, count, ready, copy):
    """Rows per second that `copy` takes to a replica, when `ready` has prepared both databases."""
    try:
        system.primary.create()
        fill(system.primary, shape, count)
        system.replicas[0].create()
        ready()
        begin = time.monotonic()
        copy()
        seconds = time.monotonic() - begin
        same_rows(system)
        return {"rate": count / seconds}
    finally:
        system.remove()


def fill(primary, shape, count):
    primary.run(shape.table)
    primary.run(shape.insert(f"1, {count}"))
    primary.run("VACUUM ANALYZE slots")
    primary.run("CHECKPOINT")


def first_copy_case(rig, options):
    count, results = scaled(options, 1_000_000, 10_000_000), []
    for key in ("uuid", "bigint") if options.full else ("uuid",):
        shape = Shape(key)
        runs = in_turns(
            max(1, options.pairs // 2) if options.full else options.pairs,
            lambda: ours(rig, shape, count),
            lambda: native(rig, shape, count),
            show=lambda run: f"{run['rate']:,.0f}/s",
        )
        results.append(
            compare(
                "first-copy",
                "native, binary on",
                [(a["rate"], b["rate"]) for a, b in runs],
                "rows/s",
                text=f"{count:,} rows that are there already, add-replica with its 2 jobs; {shape.text}",
            )
        )
    return results
