"""What a fault is, and the register of them. A fault is a function of (run, ...parameters) that
harms, lasts, and undoes what it did; recovery is measured from its return."""
import dataclasses
import typing


@dataclasses.dataclass(frozen=True)
class Fault:
    kind: str
    touches: frozenset          # two faults that touch the same part are never done at once
    weight: float
    loses: str                  # "": nothing may be lost; topic, all: an incident is in order; epoch: a new epoch, too
    plan: typing.Callable       # (random, longest) -> parameters of run
    run: typing.Callable


FAULTS = {}


def nothing(rng, longest):
    return {}


def seconds(low=1.0, high=60.0):
    """A plan: for how long, at most as long as this run allows."""
    return lambda rng, longest: {"seconds": round(rng.uniform(low, min(high, longest)), 1)}


def fault(kind, *touches, weight=1.0, loses="", plan=nothing):
    def register(function):
        assert kind not in FAULTS
        FAULTS[kind] = Fault(kind, frozenset(touches), weight, loses, plan, function)
        return function
    return register
