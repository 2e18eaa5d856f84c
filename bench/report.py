"""bench/results.json, bench/results.md and the plots."""

import datetime
import json
import os
import platform

import plots

CONDITIONS = """\
Everything (servers, broker, replicator, client) runs on the one machine, so total CPU counts. Each side has a
primary and a replica of its own with the same settings and the same tables; runs alternate, and a ratio is the
median of the ratios of neighbouring runs, with the smallest and the largest. Ratio over 1: pg_cqrs is better.
After each catch-up all rows of primary and replica are compared.

Durability is that of the defaults on both sides: fsync on, primary `synchronous_commit = on` for what is measured on
it, the replica's commits as each system makes them by default (native: asynchronous, confirmed once flushed; pg_cqrs:
the same, messages are acknowledged once flushed). Queues are quorum queues, messages persistent.

Not defaults, on every server: `max_wal_size = 8GB`, `checkpoint_timeout = 1h`, `autovacuum = off` (a checkpoint is
made before each run instead), `wal_retrieve_retry_interval = 10ms` (in favour of native: its launcher would let a
subscription that was just disabled wait for up to 5 s) and room for more walsenders and slots. While a catch-up's WAL is written, which is not
measured, `synchronous_commit = off`.
"""


def load(directory):
    try:
        return json.loads((directory / "results.json").read_text())
    except (OSError, ValueError):
        return []


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def line(result):
    return (
        f"{result['case']}: {result['peer']}: {number(result['ours'])} against "
        f"{number(result['theirs'])} {result['unit']}: "
        f"{result['ratio']:.2f} ({result['min']:.2f} to {result['max']:.2f})"
    )


def processor():
    with open("/proc/cpuinfo") as file:
        for text in file:
            if text.startswith("model name"):
                return text.split(":", 1)[1].strip()
    return platform.machine()


def main_table(results):
    yield "| case | what | peer | pg_cqrs | peer's | unit | ratio | min to max | pairs |"
    yield "|---|---|---|--:|--:|---|--:|---|--:|"
    for r in results:
        yield (
            f"| {r['case']} | {r.get('text', '')} | {r['peer']} | {number(r['ours'])} | {number(r['theirs'])} "
            f"| {r['unit']} | **{r['ratio']:.2f}** | {r['min']:.2f} to {r['max']:.2f} | {r['pairs']} |"
        )


def cpu_table(results):
    yield "| case | side | " + " | ".join(STAGES) + " | sum |"
    yield "|---|---|" + "--:|" * (len(STAGES) + 1)
    for r in results:
        for side, cpu in (("pg_cqrs", r.get("ours_cpu")), (r["peer"], r.get("theirs_cpu"))):
            if cpu:
                cells = [f"{cpu[stage]:.2f}" if stage in cpu else "" for stage in STAGES]
                yield f"| {r['case']} | {side} | {' | '.join(cells)} | {sum(cpu.values()):.2f} |"


STAGES = ["walsender", "relay", "broker", "applier", "replica backend", "apply worker"]


def write(results, rig, options):
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    pages = [
        "# Results of scripts/bench",
        f"{rig.version()}; {processor()}, {os.cpu_count()} cores; {datetime.date.today()}.",
        CONDITIONS,
        "## Ours beside theirs",
        "\n".join(main_table(results)),
        "## CPU microseconds a row, by stage",
        "From /proc, medians; of all replicas together.",
        "\n".join(cpu_table(results)),
    ]
    (options.output / "results.md").write_text("\n\n".join(pages) + "\n")
    plots.draw(results, options.output)
