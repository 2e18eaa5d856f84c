"""What was committed. A transaction seals each topic that it touched: the topic's ledger then holds a
version, a chain that no other history has, and the fingerprint of the topic's rows. Writers report a
seal before they COMMIT, so every state that a replica may ever show is known here first."""
import collections
import threading

TABLES = {"shop": ["account", "item"], "depot": ["box", "pallet"], "log": ["entry"]}
TOPICS = list(TABLES)
# In rows and events of transactions that roll back: nobody may ever see it.
MARK = "ROLLED-BACK"

Seal = collections.namedtuple("Seal", "topic version chain fingerprint")


def state_query(topic):
    """One row: version, chain, fingerprint as the ledger says, fingerprint as the rows are."""
    rows = " # ".join(
        f"(SELECT coalesce(bit_xor(hashtextextended(t::text, 0)), 0) FROM chaos.{table} t)" for table in TABLES[topic])
    return f"SELECT version, chain, fingerprint, {rows} FROM chaos.ledger_{topic}"


class Model:
    """Thread-safe."""

    def __init__(self):
        self._lock = threading.Lock()
        self._seals = {(topic, 0, ""): 0 for topic in TOPICS}
        self._aborted = set()
        self.committed = self.rolled_back = self.in_doubt = 0

    def attempt(self, seals):
        with self._lock:
            for seal in seals:
                self._seals[seal.topic, seal.version, seal.chain] = seal.fingerprint

    def outcome(self, seals, outcome):
        """committed, rolled_back or in_doubt."""
        with self._lock:
            setattr(self, outcome, getattr(self, outcome) + 1)
            if outcome == "rolled_back":
                self._aborted.update((s.topic, s.version, s.chain) for s in seals)

    def fault_with(self, topic, version, chain, fingerprint, rows):
        """What is wrong with a state that a replica showed; None if it is one of the history."""
        with self._lock:
            known = self._seals.get((topic, version, chain))
            aborted = (topic, version, chain) in self._aborted
        if aborted:
            return f"version {version} was rolled back"
        if known is None:
            return f"version {version} with chain {chain} was never committed"
        if known != fingerprint:
            return f"version {version}: half a transaction: fingerprint {fingerprint}, sealed {known}"
        if rows != fingerprint:
            return f"version {version}: the rows are not those of the ledger: {rows}, not {fingerprint}"
        return None
