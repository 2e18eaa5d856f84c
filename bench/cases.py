"""The cases by name. Each is a function of the rig and the options that gives a list of results."""

from catchup import best_native
from catchup import run as catch_up
from comparison import compare, in_turns, median_cpu
from decode import Decoding
from native import Native
from ours import Ours
from pglogical import Pglogical
from workloads import Delete, Insert, Mix, Shape, Update


def scaled(options, count, full, step=1000):
    count = full if options.full else count
    return max(step, int(count * options.scale) // step * step)


def show(run):
    stages = " ".join(f"{stage} {cpu:.2f}" for stage, cpu in run["cpu"].items())
    return f"{run['rate']:,.0f}/s ({stages})"


def catch_up_case(name, make):
    """make(options, shape) gives the workload."""

    def against(rig, options, workload, peer_name, peer, case):
        runs = in_turns(
            options.pairs, lambda: catch_up(Ours(rig), workload), lambda: catch_up(peer(), workload), show
        )
        return compare(
            case,
            peer_name,
            [(a["rate"], b["rate"]) for a, b in runs],
            "rows/s",
            text=workload.text,
            count=workload.count,
            ours_cpu=median_cpu([a for a, _ in runs]),
            theirs_cpu=median_cpu([b for _, b in runs]),
        )

    def case(rig, options):
        results = []
        shapes = [Shape()]
        if options.full and name.startswith("insert"):
            shapes += [Shape("uuid7"), Shape("bigint"), Shape("bigint", wide=True)]
        for shape in shapes:
            workload = make(options, shape)
            binary = best_native(lambda choice: Native(rig, binary=choice), workload)
            peer = f"native, binary {'on' if binary else 'off'}"
            key = name if shape is shapes[0] else f"{name} ({shape.text})"
            results.append(
                {**against(rig, options, workload, peer, lambda: Native(rig, binary=binary), key), "case": name}
            )
            if shape is shapes[0] and rig.pglogical_primary:
                results.append(
                    against(rig, options, workload, "pglogical", lambda: Pglogical(rig), name)
                )
        return results

    return case


CASES = {
    "insert-one-transaction": catch_up_case(
        "insert-one-transaction",
        lambda options, shape: (
            lambda count: Insert(shape, count, count, f"{count:,} inserts in one transaction")
        )(scaled(options, 1_000_000, 1_000_000)),
    ),
    "insert-1000x1000": catch_up_case(
        "insert-1000x1000",
        lambda options, shape: (
            lambda count: Insert(shape, count, 1000, f"{count:,} inserts, 1,000 a transaction")
        )(scaled(options, 400_000, 1_000_000)),
    ),
    "insert-single-row": catch_up_case(
        "insert-single-row",
        lambda options, shape: (
            lambda count: Insert(shape, count, 1, f"{count:,} inserts, one a transaction")
        )(scaled(options, 100_000, 100_000)),
    ),
    "update": catch_up_case(
        "update",
        lambda options, shape: (
            lambda count: Update(shape, count, 1000, f"{count:,} updates, 1,000 a transaction")
        )(scaled(options, 200_000, 300_000)),
    ),
    "delete": catch_up_case(
        "delete",
        lambda options, shape: (
            lambda count: Delete(shape, count, 1000, f"{count:,} deletes, 1,000 a transaction")
        )(scaled(options, 200_000, 300_000)),
    ),
    "mix-hot-keys": catch_up_case(
        "mix-hot-keys",
        lambda options, shape: (
            lambda count: Mix(
                shape, count, 100, f"{count:,} changes, 100 a transaction, on 100,000 rows of which 1,000 are hot"
            )
        )(scaled(options, 200_000, 300_000)),
    ),
}


def decode_case(peer):
    def case(rig, options):
        if peer != "pgoutput" and not rig.has_plugin(peer):
            print(f"  {peer} is not installed: left out")
            return []
        count = scaled(options, 300_000, 1_000_000)
        workload = Insert(Shape(), count, 1000, f"{count:,} inserts, 1,000 a transaction")
        with Decoding(rig, workload) as decoding:
            runs = in_turns(
                options.pairs, lambda: decoding.run("pg_cqrs"), lambda: decoding.run(peer), show
            )
        return [
            compare(
                f"decode-{peer}",
                peer,
                [(1e6 / a["cpu"]["walsender"], 1e6 / b["cpu"]["walsender"]) for a, b in runs],
                "rows per walsender CPU s",
                text=workload.text,
                count=count,
                ours_cpu=median_cpu([a for a, _ in runs]),
                theirs_cpu=median_cpu([b for _, b in runs]),
            )
        ]

    return case


for plugin in ("pgoutput", "wal2json", "test_decoding"):
    CASES[f"decode-{plugin}"] = decode_case(plugin)
