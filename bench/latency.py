"""Latency: a writer at a steady rate; from the acknowledged commit to the replica's NOTIFY of it."""

import select
import statistics
import subprocess
import threading
import time
import uuid

from database import Database

WARM_UP = 0.5  # seconds whose rows do not count

# Fires in whatever applies the row; its NOTIFY is sent once the row is visible.
SEEN = """
CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('seen', NEW.id::text); RETURN NULL; END $$;
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
            now = time.perf_counter()
            while connection.notifies:
                self.seen[connection.notifies.pop().payload] = now


def percentiles(milliseconds):
    ordered = sorted(milliseconds)
    return {
        "p50": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "max": ordered[-1],
    }


def run(system, shape, rate, seconds):
    """{"p50", "p99", "max"} in ms."""
    try:
        system.prepare(shape.table, lambda primary: None)
        (replica,) = system.replicas
        replica.run(SEEN)
        listener = Listener(Database(replica.cluster, replica.name))
        listener.start()
        acknowledged = {}
        begin = time.perf_counter()
        count = int(rate * (seconds + WARM_UP))
        for i in range(count):
            time.sleep(max(0.0, begin + i / rate - time.perf_counter()))
            key = str(uuid.uuid4())
            system.primary.run("INSERT INTO slots VALUES (%s, %s, 'available')", key, f"Slot {i}")
            acknowledged[key] = time.perf_counter()
        deadline = time.monotonic() + 30
        while len(listener.seen) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        listener.stopping = True
        listener.join()
        listener.database.close()
        if len(listener.seen) < count:
            raise AssertionError(f"{system.name}: {count - len(listener.seen)} rows never arrived")
        late = list(acknowledged.items())[int(rate * WARM_UP) :]
        return percentiles([1000 * (listener.seen[key] - at) for key, at in late])
    finally:
        system.remove()


def broker_round_trip(rig, rate, seconds):
    """Publish to consume through a quorum queue, and nothing else: ms."""
    output = subprocess.check_output(
        [rig.round_trip, rig.broker, str(rate), str(int(rate * seconds))], text=True, timeout=60
    )
    return percentiles([float(line) for line in output.split()])
