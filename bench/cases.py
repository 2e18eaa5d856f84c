"""The cases by name. Each is a function of the rig and the options that gives a list of results."""

import latency
from catchup_cases import CHANGES, INSERTS, MEMORY, REPLICAS
from comparison import compare, fewer, in_turns, median_cpu
from decode import Decoding
from first_copy import first_copy_case
from native import Native
from ours import Ours
from sizes import scaled, show
from workloads import Insert, Shape
from writing import TEXT, Writing


def show_latency(run):
    return " ".join(f"{name} {value:.2f}" for name, value in run.items())


def compare_latency(case, runs, text, round_trip=None):
    """runs: pairs of latency.run(). round_trip: the broker's own; most of it may be spent on top of native's."""
    results = []
    for name in ("p50", "p99", "max"):
        pairs = [(a[name], b[name]) for a, b in runs]
        peers = {"native, binary on": pairs}
        if round_trip and name != "max":
            budget = 1.2 * round_trip[name]
            label = f"native + 1.2 broker round trips of {round_trip[name]:.2f} ms"
            peers[label] = [(a, b + budget) for a, b in pairs]
        for peer, each in peers.items():
            results.append(compare(case, peer, each, f"ms {name}", smaller_is_better=True, text=text))
    return results


def latency_case(rig, options):
    rate, seconds = 200, 20 if options.full else max(1, int(6 * options.scale))
    text = f"{rate} commits a second; commit acknowledged to visible on the replica"
    round_trip = latency.broker_round_trip(rig, rate, 3)
    runs = in_turns(
        options.pairs,
        lambda: latency.run(rig, Ours(rig), Shape(), seconds, rate),
        lambda: latency.run(rig, Native(rig), Shape(), seconds, rate),
        show=show_latency,
    )
    return compare_latency("latency-200", runs, text, round_trip)


def latency_peak_case(rig, options):
    """At shares of what writers without a limit reach with both systems, the replica included."""
    clients, seconds = 8, 20 if options.full else max(1, int(3 * options.scale))

    def turns(pairs, rate):
        return in_turns(
            pairs,
            lambda: latency.run(rig, Ours(rig), Shape(), seconds, rate, clients),
            lambda: latency.run(rig, Native(rig), Shape(), seconds, rate, clients),
            show=show_latency,
        )

    unlimited = turns(fewer(options).pairs, None)
    results = [
        compare(
            "latency-peak",
            "native, binary on",
            [(a["peak"], b["peak"]) for a, b in unlimited],
            "commits/s",
            text=f"{clients} clients without a limit, until the last row is visible",
        )
    ]
    peak = min(results[0]["ours"], results[0]["theirs"])
    for share in (50, 80):
        rate = int(peak * share / 100)
        text = f"{rate:,} commits a second, {share} % of the peak; {clients} clients"
        results += compare_latency("latency-peak", turns(options.pairs, rate), text)
    return results


def write_case(peer):
    def case(rig, options):
        seconds = 10 if options.full else max(1, int(3 * options.scale))
        results = []
        with Writing(rig) as writing:
            for clients in (8, 1, 32) if options.full else (8,):
                runs = in_turns(
                    options.pairs,
                    lambda: writing.run("command", clients, seconds),
                    lambda: writing.run(peer, clients, seconds),
                    show=lambda tps: f"{tps:,.0f}/s",
                )
                text = f"create_parking_slot(), pgbench, {clients} clients"
                results.append(compare(f"write-{peer}", TEXT[peer], runs, "tps", text=text))
        return results

    return case


def decode_case(peer):
    def case(rig, options):
        if peer == "wal2json" and not rig.has_plugin(peer):
            print("  wal2json is not installed: left out")
            return []
        count = scaled(options, 300_000, 1_000_000)
        workload = Insert(Shape(), count, 1000, f"{count:,} inserts, 1,000 a transaction")
        with Decoding(rig, workload) as decoding:
            runs = in_turns(
                options.pairs,
                lambda: decoding.run("pg_cqrs"),
                lambda: decoding.run(peer),
                show=show,
            )
        pairs = [tuple(1e6 / run["cpu"]["walsender"] for run in pair) for pair in runs]
        return [
            compare(
                f"decode-{peer}",
                peer,
                pairs,
                "rows per CPU second of walsender",
                text=workload.text,
                ours_cpu=median_cpu([a for a, _ in runs]),
                theirs_cpu=median_cpu([b for _, b in runs]),
            )
        ]

    return case


CASES = {
    **INSERTS,
    **CHANGES,
    "latency-200": latency_case,
    "latency-peak": latency_peak_case,
    **REPLICAS,
    "first-copy": first_copy_case,
    **{f"write-{peer}": write_case(peer) for peer in TEXT},
    **{f"decode-{peer}": decode_case(peer) for peer in ("pgoutput", "wal2json", "test_decoding")},
    **MEMORY,
}
