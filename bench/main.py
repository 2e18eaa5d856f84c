"""scripts/bench: runs the cases, pg_cqrs and its peer in turns, and writes the results."""

import argparse
import pathlib
import sys
import time
import traceback

import report
from cases import CASES
from rig import Rig


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="How fast, beside the peers, in one run on private servers.",
        epilog="Cases: " + ", ".join(CASES),
    )
    parser.add_argument("case", nargs="*", help="default: all")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each side, in turns")
    parser.add_argument("--full", action="store_true", help="large sizes, also the variants")
    parser.add_argument("--scale", type=float, default=1.0, help="sizes times this, to try things")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    options = parser.parse_args()
    unknown = [name for name in options.case if name not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    return options


def main():
    options = arguments()
    rig = Rig()
    results, failed = report.load(options.output), []
    for name in options.case or CASES:
        begin = time.monotonic()
        try:
            found = CASES[name](rig, options)
        except Exception:  # the other cases are still worth having
            traceback.print_exc()
            failed.append(name)
            found = []
        results = [r for r in results if r["case"] != name] + found
        report.write(results, rig, options)
        for result in found:
            print(report.line(result), flush=True)
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


main()
