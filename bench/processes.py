"""What processes have used, from /proc."""

import os

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of all its threads, those that ended too."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def peak_rss(pid):
    """Bytes."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


class Stages:
    """CPU seconds by stage of the pipeline, from start() to stop(). A process that was not there at
    start() counts whole."""

    def __init__(self):
        self._before = {}

    def start(self, pids):
        self._before = {pid: cpu_seconds(pid) for each in pids.values() for pid in each}

    def stop(self, pids):
        return {
            stage: sum(cpu_seconds(pid) - self._before.get(pid, 0.0) for pid in each)
            for stage, each in pids.items()
        }
