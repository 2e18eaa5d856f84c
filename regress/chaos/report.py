"""Counts by kind of fault, and the verdict."""
import collections


class Report:
    def __init__(self):
        self._count = collections.Counter()
        self._longest = {}
        self.notes = collections.Counter()

    def recovered(self, kinds, seconds):
        """Faults of one step are over; the step's recovery counts for each of them."""
        for kind in kinds:
            self._count[kind] += 1
            self._longest[kind] = max(self._longest.get(kind, 0.0), seconds)

    def table(self, incidents):
        lines = [f"{'fault':<28}{'times':>6}{'longest recovery':>18}{'incidents':>11}"]
        for kind in sorted(self._count):
            lines.append(f"{kind:<28}{self._count[kind]:>6}{self._longest[kind]:>16.1f} s{incidents.get(kind, 0):>11}")
        lines.append(f"{'total':<28}{sum(self._count.values()):>6}{max(self._longest.values(), default=0):>16.1f} s{sum(incidents.values()):>11}")
        return "\n".join(lines)
