"""What happens when, from nothing but the seed. A step is one fault, or two or three at once on
different parts; the next begins when the system has recovered and a pause is over."""
import dataclasses
import random

from fault import FAULTS


@dataclasses.dataclass(frozen=True)
class Planned:
    fault: object
    after: float       # seconds into the step
    parameters: dict

    def __str__(self):
        return " ".join([self.fault.kind, *(f"{k}={v}" for k, v in self.parameters.items())])


@dataclasses.dataclass(frozen=True)
class Step:
    number: int
    pause: float
    faults: list

    def __str__(self):
        return f"step {self.number}: " + ", ".join(map(str, self.faults))


def schedule(seed, kinds, longest):
    """Endless. Each kind comes once before any comes twice as often as its weight says."""
    rng = random.Random(f"{seed} schedule")
    number, waiting = 0, []
    while True:
        number += 1
        faults, touched = [], set()
        for _ in range(rng.choices([1, 2, 3], [6, 3, 1])[0]):
            if not waiting:
                waiting = [k for k in kinds for _ in range(max(1, round(FAULTS[k].weight)))]
                rng.shuffle(waiting)
            at = next((i for i, k in enumerate(waiting) if not FAULTS[k].touches & touched), None)
            if at is None:
                break
            chosen = FAULTS[waiting.pop(at)]
            faults.append(Planned(chosen, round(rng.uniform(0, 2), 1) if faults else 0.0, chosen.plan(rng, longest)))
            touched |= chosen.touches
        yield Step(number, round(rng.uniform(0.5, 2.5), 1), faults)
