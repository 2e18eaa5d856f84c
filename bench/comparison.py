"""Pairs of runs, ours and the peer's in turns, and what they come to."""

import argparse
import statistics
import sys


def ratio_of(ours, theirs, smaller_is_better):
    return theirs / ours if smaller_is_better else ours / theirs


def compare(case, peer, pairs, unit, smaller_is_better=False, **more):
    """pairs: [(ours, theirs)]. ratio over 1: ours is better; min and max are those of the pairs."""
    ratios = [ratio_of(a, b, smaller_is_better) for a, b in pairs]
    return {
        "case": case,
        "peer": peer,
        "ours": statistics.median(a for a, _ in pairs),
        "theirs": statistics.median(b for _, b in pairs),
        "unit": unit,
        "ratio": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
        "pairs": len(pairs),
        **more,
    }


def in_turns(rounds, *sides, show):
    """Runs A B A B (or A B C A B C); a list of tuples of what they gave."""
    results = []
    for i in range(rounds):
        found = tuple(side() for side in sides)
        print(f"  {i + 1}/{rounds}", " | ".join(map(show, found)), file=sys.stderr, flush=True)
        results.append(found)
    return results


def median_cpu(runs):
    """Median microseconds a row of each stage."""
    runs = list(runs)
    stages = {stage: None for run in runs for stage in run["cpu"]}
    return {stage: statistics.median(run["cpu"][stage] for run in runs) for stage in stages}


def fewer(options):
    """For what stands beside the main comparison."""
    return argparse.Namespace(**{**vars(options), "pairs": max(1, options.pairs // 2)})
