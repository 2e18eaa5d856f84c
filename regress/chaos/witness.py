"""Another consumer, bound to everything: no event may be missing, invented, or different when it
comes again. It is never harmed itself; its connection breaks with the broker."""
import collections
import hashlib
import json
import threading

import pika

from model import MARK

QUEUE = "chaos.witness"
DECODER = json.JSONDecoder()


def split(body):
    """The events of a batch, each as (bytes as sent, decoded)."""
    text = body.decode("utf-8")
    events, at = [], 1
    while text[at - 1] != "]":
        event, end = DECODER.raw_decode(text, at)
        events.append((text[at:end].encode(), event))
        at = end + 1
    return events


class Witness(threading.Thread):
    def __init__(self, url):
        super().__init__(name="witness", daemon=True)
        self._url = url
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._digests = {}   # (topic, epoch) -> one digest an event; its sequence is the index plus one
        self._versions = {}  # (topic, epoch) -> the ledger's version as of the last event
        self.ready = threading.Event()
        self.failures = []
        self.events = self.again = self.messages = 0
        self.again_of = collections.Counter()  # by topic

    def stop(self):
        self._stopping.set()
        self.join(30)

    def last(self, topic):
        """(epoch, sequence) of the newest event of a topic."""
        with self._lock:
            epochs = [e for t, e in self._digests if t == topic]
            return (max(epochs), len(self._digests[topic, max(epochs)])) if epochs else (None, 0)

    def epochs(self):
        with self._lock:
            return sorted({e for _, e in self._digests})

    def run(self):
        while not self._stopping.is_set():
            try:
                connection = pika.BlockingConnection(pika.URLParameters(self._url))
                channel = connection.channel()
                channel.exchange_declare("CQRS_EVENT_STORE", exchange_type="topic", durable=True)
                channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 2147483647})
                channel.queue_bind(QUEUE, "CQRS_EVENT_STORE", "#")
                channel.basic_qos(prefetch_count=100)
                self.ready.set()
                for method, properties, body in channel.consume(QUEUE, inactivity_timeout=0.5):
                    if self._stopping.is_set():
                        break
                    if method is None:
                        continue
                    self._see(properties.headers or {}, body)
                    channel.basic_ack(method.delivery_tag)
                connection.close()
            except (pika.exceptions.AMQPError, OSError):
                self._stopping.wait(0.3)

    def _fail(self, text):
        if len(self.failures) < 50:
            self.failures.append("witness: " + text)

    def _see(self, headers, body):
        topic, epoch, first = headers.get("cqrs-topic"), headers.get("cqrs-epoch"), headers.get("cqrs-sequence")
        where = f"{topic} {epoch} from {first}"
        if MARK.encode() in body:
            self._fail(f"{where}: an event of a transaction that rolled back")
        events = split(body)
        if headers.get("cqrs-count") != len(events):
            self._fail(f"{where}: {len(events)} events, {headers.get('cqrs-count')} announced")
        with self._lock:
            self.messages += 1
            digests = self._digests.setdefault((topic, epoch), [])
            if first > len(digests) + 1:
                self._fail(f"{where}: a hole: {len(digests)} was the last before it")
                digests.extend([b""] * (first - 1 - len(digests)))
            for sequence, (raw, event) in enumerate(events, first):
                digest = hashlib.blake2b(raw, digest_size=8).digest()
                if sequence <= len(digests):
                    self.again += 1
                    self.again_of[topic] += 1
                    if digests[sequence - 1] not in (digest, b""):
                        self._fail(f"{where}: event {sequence} came again and is another: {raw[:300]}")
                    continue
                digests.append(digest)
                self.events += 1
                if event["type"] == f"{topic}.ledger.update":
                    version = event["data"]["version"]
                    before = self._versions.get((topic, epoch), version)
                    if version not in (before, before + 1):
                        self._fail(f"{where}: event {sequence} is of version {version}, the one before of {before}")
                    self._versions[topic, epoch] = version
