"""Sizes of cases, and how a run is shown."""


def scaled(options, count, full, step=1000):
    count = full if options.full else count
    return max(step, int(count * options.scale) // step * step)


def show(run):
    stages = " ".join(f"{stage} {cpu:.2f}" for stage, cpu in run["cpu"].items())
    return f"{run['rate']:,.0f}/s ({stages})"
