"""Cases of catch-up: inserts, changes, several replicas, memory."""

from catchup import run as catch_up
from comparison import compare, fewer, in_turns, median_cpu
from native import Native, Settings, best_native
from ours import Ours
from pglogical import Pglogical
from sizes import scaled, show
from workloads import Delete, Insert, Mix, Shape, Update


def compare_rates(case, workload, peer, ours, theirs, more=""):
    """Of runs of catch_up()."""
    return compare(
        case,
        peer,
        [(a["rate"], b["rate"]) for a, b in zip(ours, theirs)],
        "rows/s",
        text=workload.text + more,
        ours_cpu=median_cpu(ours),
        theirs_cpu=median_cpu(theirs),
    )


def beside_native(rig, options, case, workload, replicas=1, lz4=False):
    """pg_cqrs and native in turns; lz4: pg_cqrs once more with compressed messages."""
    settings = Settings()
    if replicas == 1:  # the best of its settings for this workload, tried once each
        settings = best_native(rig, workload)
    sides = [
        lambda: catch_up(Ours(rig, replicas), workload),
        lambda: catch_up(Native(rig, replicas, settings), workload),
    ]
    if lz4:
        sides.append(lambda: catch_up(Ours(rig, replicas, "lz4"), workload))
    ours, theirs, *compressed = zip(*in_turns(options.pairs, *sides, show=show))
    peer = f"native, {settings}"
    results = [compare_rates(case, workload, peer, ours, theirs)]
    for runs in compressed:
        results.append(
            compare_rates(case, workload, peer, runs, theirs, "; relay with --compress lz4")
        )
    return results


def beside_pglogical(rig, options, case, workload):
    runs = in_turns(
        options.pairs,
        lambda: catch_up(Ours(rig), workload),
        lambda: catch_up(Pglogical(rig), workload),
        show=show,
    )
    return [compare_rates(case, workload, "pglogical", *zip(*runs))]


def insert_case(name, size, per_transaction, all_shapes):
    """per_transaction 0: all in one. all_shapes: other tables too, also without --full."""

    def case(rig, options):
        def workload(shape, count=scaled(options, *size)):
            each = per_transaction or count
            return Insert(shape, count, each, f"{count:,} inserts, {each:,} a transaction")

        results = beside_native(rig, options, name, workload(Shape()), lz4=all_shapes)
        if rig.pglogical_primary:
            results += beside_pglogical(rig, fewer(options), name, workload(Shape()))
        if all_shapes or options.full:
            fewer_rows = scaled(options, min(size[0], 400_000), size[1])
            for shape in (Shape("uuid7"), Shape("bigint"), Shape("bigint", wide=True)):
                results += beside_native(rig, fewer(options), name, workload(shape, fewer_rows))
        return results

    return case


def change_case(name, kind, size, per_transaction, text):
    def case(rig, options):
        count = scaled(options, *size)
        workload = kind(
            Shape(), count, per_transaction, f"{count:,} {text}, {per_transaction:,} a transaction"
        )
        return beside_native(rig, options, name, workload)

    return case


def replicas_case(number):
    def case(rig, options):
        # Fewer would measure how long that many appliers take to start.
        count = scaled(options, 300_000, 1_000_000)
        text = f"to the last of {number} replicas: {count:,} inserts, 1,000 a transaction"
        workload = Insert(Shape(), count, 1000, text)
        return beside_native(rig, options, f"replicas-{number}", workload, number, lz4=number == 8)

    return case


def memory_case(rig, options):
    results = []
    many, large = scaled(options, 1_500_000, 10_000_000), scaled(options, 1_000_000, 5_000_000)
    for count, each in ((many, 1000), (large, large)):
        workload = Insert(Shape("bigint"), count, each, f"{count:,} inserts, {each:,} a transaction")
        found = catch_up(Ours(rig), workload, limit=900)["rss"]
        for stage in ("relay", "applier"):
            results.append(
                compare(
                    "memory",
                    f"limit of the {stage}",
                    [(found[stage] / 1e6, 128.0)],
                    "MB peak RSS",
                    smaller_is_better=True,
                    text=workload.text,
                )
            )
    return results


INSERTS = {
    "insert-one-transaction": insert_case("insert-one-transaction", (1_000_000, 1_000_000), 0, False),
    "insert-1000x1000": insert_case("insert-1000x1000", (1_000_000, 1_000_000), 1000, True),
    "insert-single-row": insert_case("insert-single-row", (100_000, 100_000), 1, False),
}
CHANGES = {
    "update": change_case("update", Update, (300_000, 300_000), 1000, "updates"),
    "delete": change_case("delete", Delete, (300_000, 300_000), 1000, "deletes"),
    "mix-hot-keys": change_case(
        "mix-hot-keys", Mix, (300_000, 300_000), 100, "changes, 1,000 of 100,000 rows are hot"
    ),
}
REPLICAS = {f"replicas-{number}": replicas_case(number) for number in (2, 4, 8)}
MEMORY = {"memory": memory_case}
