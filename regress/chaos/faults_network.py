"""The four connections that carry events, cut, silent in one or both directions, slow."""
import time

from fault import fault, seconds

LINKS = {"relay-primary": "relay", "relay-broker": "relay", "apply-broker": "apply", "apply-replica": "apply"}


def cut(link, duration):
    link.cut()
    time.sleep(duration)
    link.restore()


def stall(link, duration, *directions):
    """The connections outlive it; whoever gave up in between has made new ones."""
    link.stall(*directions)
    time.sleep(duration)
    link.restore()


def slow(link, duration, delay):
    link.delay(delay)
    time.sleep(duration)
    link.restore()


def silence(rng, longest):
    return {**seconds()(rng, longest), "direction": rng.choice(["both", "client", "server"])}


def slowness(rng, longest):
    return {**seconds(2, 20)(rng, longest), "delay": rng.choice([0.01, 0.05, 0.3])}


def register(name, part):
    fault(f"cut {name}", part, weight=0.5, plan=seconds(0.1))(lambda run, seconds: cut(run.system.proxy.links[name], seconds))
    fault(f"silent {name}", part, weight=0.5, plan=silence)(
        lambda run, seconds, direction: stall(run.system.proxy.links[name], seconds, *([] if direction == "both" else [direction])))
    fault(f"slow {name}", part, weight=0.5, plan=slowness)(lambda run, seconds, delay: slow(run.system.proxy.links[name], seconds, delay))


for _name, _part in LINKS.items():
    register(_name, _part)
