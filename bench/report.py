"""bench/results.json and bench/results.md."""

import json
import platform


def load(directory):
    try:
        return json.loads((directory / "results.json").read_text())
    except (OSError, ValueError):
        return []


def line(result):
    return (
        f"{result['case']:24} {result['peer']:20} {result['ours']:>12,.1f} {result['theirs']:>12,.1f} "
        f"{result['unit']:8} {result['ratio']:6.2f} ({result['min']:.2f} to {result['max']:.2f})"
    )


def write(results, rig, options):
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
