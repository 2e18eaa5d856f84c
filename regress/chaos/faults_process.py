"""Relay, applier, broker and servers killed, stopped, frozen, doubled."""
import time

from fault import fault, seconds
from system import wait_until


def child(run, name):
    pid = wait_until(lambda: run.system.child(name), 30, 0.05)
    if not pid:
        raise RuntimeError(f"{name} does not run")
    return pid


def restarted(run, name, pid):
    if not wait_until(lambda: run.system.child(name) not in (None, pid), 30, 0.05):
        raise RuntimeError(f"{name} {pid} has not been replaced")


def times(rng, longest):
    return {"times": rng.randint(1, 3)}


def kill(run, name, count):
    for _ in range(count):
        pid = child(run, name)
        run.system.signal(pid, "KILL")
        restarted(run, name, pid)
        time.sleep(0.3)


@fault("kill relay", "relay", weight=2, plan=times)
def kill_relay(run, times):
    kill(run, "relay", times)


@fault("kill applier", "apply", weight=2, plan=times)
def kill_applier(run, times):
    kill(run, "apply", times)


def freeze(run, pid, duration):
    run.system.signal(pid, "STOP")
    try:
        time.sleep(duration)
    finally:
        run.system.signal(pid, "CONT")


@fault("freeze relay", "relay", plan=seconds())
def freeze_relay(run, seconds):
    freeze(run, child(run, "relay"), seconds)


@fault("freeze applier", "apply", plan=seconds())
def freeze_applier(run, seconds):
    freeze(run, child(run, "apply"), seconds)


@fault("freeze broker", "broker", plan=seconds())
def freeze_broker(run, seconds):
    freeze(run, run.system.broker_pid(), seconds)


def terminate(run, name):
    """SIGTERM; within five seconds under load."""
    pid = child(run, name)
    begin = time.monotonic()
    run.system.signal(pid, "TERM")
    if not wait_until(lambda: run.system.child(name) != pid, 15, 0.02):
        run.checker.fail(f"{name} is still there 15 s after SIGTERM")
        run.system.signal(pid, "KILL")
    run.note(f"{name} ended {time.monotonic() - begin:.1f} s after SIGTERM")
    restarted(run, name, pid)


@fault("restart relay", "relay")
def restart_relay(run):
    terminate(run, "relay")


@fault("restart applier", "apply")
def restart_applier(run):
    terminate(run, "apply")


@fault("second relay", "relay", plan=seconds(2, 8))
def second_relay(run, seconds):
    """A standby; then the first is killed, and one of the two goes on."""
    run.system.start_replicator("relay", "relay2")
    time.sleep(seconds)
    kill(run, "relay", 1)
    time.sleep(seconds)
    run.system.stop_replicator("relay2")


@fault("second applier", "apply", plan=seconds(2, 8))
def second_applier(run, seconds):
    run.system.start_replicator("apply", "apply2")
    time.sleep(seconds)
    kill(run, "apply", 1)
    time.sleep(seconds)
    run.system.stop_replicator("apply2")


def restart_postgres(run, side, mode):
    run.system.stop_postgres(side, mode)
    time.sleep(0.5)
    run.system.start_postgres(side)


@fault("crash primary", "primary", weight=2)
def crash_primary(run):
    restart_postgres(run, "primary", "immediate")


@fault("restart primary", "primary")
def restart_primary(run):
    begin = time.monotonic()
    run.system.stop_postgres("primary", "fast")
    run.note(f"the primary stopped in {time.monotonic() - begin:.1f} s")
    run.system.start_postgres("primary")


@fault("crash replica", "replica", weight=2)
def crash_replica(run):
    restart_postgres(run, "replica", "immediate")


@fault("restart replica", "replica")
def restart_replica(run):
    restart_postgres(run, "replica", "fast")


@fault("kill broker", "broker", weight=2, plan=seconds(0.1, 5))
def kill_broker(run, seconds):
    run.system.servers("broker", "kill")
    time.sleep(seconds)
    run.system.servers("broker", "start")


@fault("restart broker", "broker")
def restart_broker(run):
    run.system.servers("broker", "stop")
    run.system.servers("broker", "start")
