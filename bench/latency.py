"""Latency: writers at a steady rate; from the acknowledged commit to the replica's NOTIFY of it."""

import select
import statistics
import subprocess
import threading
import time

from database import Database, TooSlow

WARM_UP = 1  # seconds whose rows do not count

# pgbench keeps what a script sets from one transaction of a client to its next.
WRITE = """\\set n :n + 1
INSERT INTO slots VALUES (gen_random_uuid(), :client_id || '/' || :n, 'available');
"""

# Fires in whatever applies the row; its NOTIFY is sent once the row is visible.
SEEN = """
CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('seen', NEW.name); RETURN NULL; END $$;
CREATE TRIGGER seen AFTER INSERT ON slots FOR EACH ROW EXECUTE FUNCTION seen();
ALTER TABLE slots ENABLE ALWAYS TRIGGER seen"""


class Listener(threading.Thread):
    def __init__(self, database):
        super().__init__(daemon=True)
        self.database, self.seen, self.stopping = database, {}, False
        database.run("LISTEN seen")

    def run(self):
        connection = self.database.connection
        while not self.stopping:
            if not select.select([connection], [], [], 0.2)[0]:
                continue
            connection.poll()
            now = time.time()
            while connection.notifies:
                self.seen[connection.notifies.pop().payload] = now


def percentiles(milliseconds):
    ordered = sorted(milliseconds)
    return {
        "p50": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "max": ordered[-1],
    }


def write(rig, primary, clients, seconds, rate):
    """{name of the row: when its commit was acknowledged}; rate: of all clients, or None for no limit."""
    script, log = rig.directory / "latency.sql", rig.directory / "latency-log"
    script.write_text(WRITE)
    for old in rig.directory.glob("latency-log.*"):
        old.unlink()
    limit = ["--rate", str(rate)] if rate else []
    subprocess.run(
        [rig.programs / "pgbench", "-n", "-M", "prepared", "-c", str(clients), "-T", str(seconds)]
        + ["-D", "n=0", "-f", script, "-l", "--log-prefix", log, *limit, primary.url],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=seconds + 60,
    )
    acknowledged, numbers = {}, {}
    for file in rig.directory.glob("latency-log.*"):
        for line in file.read_text().splitlines():
            client, _, _, _, second, microsecond, *_ = line.split()
            numbers[client] = numbers.get(client, 0) + 1
            acknowledged[f"{client}/{numbers[client]}"] = int(second) + int(microsecond) / 1e6
    return acknowledged


def run(rig, system, shape, seconds, rate=None, clients=1):
    """{"p50", "p99", "max"} in ms, and "peak": the rows a second until the last one was visible."""
    try:
        system.prepare(shape.table, lambda primary: None)
        (replica,) = system.replicas
        replica.run(SEEN)
        listener = Listener(Database(replica.cluster, replica.name))
        listener.start()
        begin = time.time()
        acknowledged = write(rig, system.primary, clients, seconds + WARM_UP, rate)
        deadline = time.monotonic() + 60
        while len(listener.seen) < len(acknowledged) and time.monotonic() < deadline:
            time.sleep(0.05)
        listener.stopping = True
        listener.join()
        listener.database.close()
        if missing := acknowledged.keys() - listener.seen.keys():
            raise TooSlow(f"{system.name}: {len(missing)} rows did not arrive within a minute")
        first = min(acknowledged.values()) + WARM_UP
        found = percentiles(
            [1000 * (listener.seen[name] - at) for name, at in acknowledged.items() if at > first]
        )
        return {**found, "peak": len(acknowledged) / (max(listener.seen.values()) - begin)}
    finally:
        system.remove()


def broker_round_trip(rig, rate, seconds):
    """Publish to consume through a quorum queue, and nothing else: ms."""
    output = subprocess.check_output(
        [rig.round_trip, rig.broker, str(rate), str(int(rate * seconds))], text=True, timeout=60
    )
    return percentiles([float(line) for line in output.split()])
