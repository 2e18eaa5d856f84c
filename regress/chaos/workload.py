"""Writers: threads that do transaction after transaction on the primary, whatever happens to it."""
import random
import threading

import psycopg2

from model import MARK, TOPICS, Seal
from transactions import WEIGHTS


class Writer(threading.Thread):
    def __init__(self, system, model, seed, number, pause):
        super().__init__(name=f"writer-{number}", daemon=True)
        self._system, self._model, self._pause = system, model, pause
        self._rng = random.Random(f"{seed} writer {number}")
        self._stopping = threading.Event()
        self.error = None
        self.kinds = {}

    def stop(self):
        self._stopping.set()

    @property
    def stopping(self):
        return self._stopping.is_set()

    def run(self):
        connection = None
        while not self._stopping.is_set():
            try:
                if connection is None or connection.closed:
                    connection = self._system.connect("primary")
                    connection.autocommit = False
                self._transaction(connection)
            except psycopg2.Error as error:
                # The server is away or going, or we lost a deadlock or a race for a key.
                try:
                    connection.rollback()
                except (psycopg2.Error, AttributeError):
                    connection = None
                if error.pgcode and error.pgcode[:2] not in ("08", "23", "25", "40", "53", "55", "57"):
                    self.error = f"{error.pgcode} {error}"
                    return
                self._stopping.wait(0.1)
            self._stopping.wait(self._rng.random() * 2 * self._pause)
        if connection is not None:
            connection.close()

    def _transaction(self, connection):
        rng = self._rng
        functions, weights = zip(*WEIGHTS)
        function = rng.choices(functions, weights)[0]
        lost = rng.random() < 0.06
        seals = []
        with connection.cursor() as cursor:
            if rng.random() < 0.8:  # the others deadlock now and then
                for topic in TOPICS:
                    cursor.execute(f"SELECT 1 FROM chaos.ledger_{topic} FOR UPDATE")
            topics = sorted(set(function(cursor, rng)))
            if lost:
                cursor.execute("INSERT INTO chaos.entry (body) VALUES (%s)", (MARK,))
                cursor.execute("SELECT cqrs.emit('log.told', %s)", ('"' + MARK + '"',))
            for topic in topics:
                cursor.execute("SELECT * FROM chaos.seal(%s)", (topic,))
                seals.append(Seal(topic, *cursor.fetchone()))
        self._model.attempt(seals)
        if lost:
            connection.rollback()
            return self._model.outcome(seals, "rolled_back")
        try:
            connection.commit()
        except psycopg2.Error as error:
            self._model.outcome(seals, "in_doubt" if connection.closed or not error.pgcode else "rolled_back")
            raise
        self._model.outcome(seals, "committed")
        self.kinds[function.__name__] = self.kinds.get(function.__name__, 0) + 1


class Workload:
    def __init__(self, system, model, seed, writers, pause):
        self.writers = [Writer(system, model, seed, n, pause) for n in range(writers)]

    def start(self):
        for writer in self.writers:
            writer.start()

    def stop(self):
        for writer in self.writers:
            writer.stop()
        for writer in self.writers:
            writer.join(90)

    def errors(self):
        return [w.error for w in self.writers if w.error] + [f"{w.name} hangs" for w in self.writers if w.stopping and w.is_alive()]
