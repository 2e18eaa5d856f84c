"""What happens to queues and to messages in them. Most of it loses events for this replica: the
applier has to notice, say so, and copy."""
import contextlib
import time

import pika

from fault import fault, seconds
from model import TOPICS
from system import REPLICA, wait_until


def topics(rng, longest):
    return {"topic": rng.choice(TOPICS)}


def queue_of(topic):
    return f"cqrs.{REPLICA}.{topic}"


@contextlib.contextmanager
def channel_of(run):
    connection = pika.BlockingConnection(pika.URLParameters(run.system.broker_url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
    finally:
        with contextlib.suppress(pika.exceptions.AMQPError):
            connection.close()


@contextlib.contextmanager
def applier_away(run, topic, messages=3):
    """Its link to the broker is cut, and messages wait in the topic's queue."""
    link = run.system.proxy.links["apply-broker"]
    link.cut()
    try:
        with channel_of(run) as channel:
            def state():
                return channel.queue_declare(queue_of(topic), passive=True).method
            wait_until(lambda: state().consumer_count == 0, 30)
            wait_until(lambda: state().message_count >= messages, 20)
            yield channel
    finally:
        link.restore()


def take(channel, topic, count, had=(None, None)):
    """Removes up to count messages, first ones first. Those that the replica has had (a position) go on the way and do
    not count: the applier acknowledges what it has written only when that is on disk."""
    ready = channel.queue_declare(queue_of(topic), passive=True).method.message_count
    taken = []
    if count == 0 or (ready == 0 and had[1] is None):
        return taken
    channel.basic_qos(prefetch_count=1)
    for method, properties, body in channel.consume(queue_of(topic), inactivity_timeout=10):
        if method is None:
            break
        channel.basic_ack(method.delivery_tag)
        if is_new(properties, had):
            taken.append((properties, body))
        if len(taken) == (count if had[1] is not None else min(count, ready)):
            break
    channel.cancel()
    return taken


def last_of(properties):
    """(epoch, sequence) of a message's last event; None of one that was damaged before."""
    h = properties.headers or {}
    return (h["cqrs-epoch"], h["cqrs-sequence"] + h["cqrs-count"] - 1) if "cqrs-sequence" in h else None


def is_new(properties, had):
    """False: the replica, being at this position, has had all of the message."""
    last = last_of(properties)
    return had[1] is None or last is None or last > had


def position(run, topic):
    """What is applied or spooled: (epoch, sequence). The applier is away, its last transaction may still end."""
    wait_until(lambda: not run.system.query("replica", "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'cqrs apply%' "
                                            "AND backend_xid IS NOT NULL"), 30)
    row = run.system.query("replica", "SELECT epoch, greatest(sequence, received) FROM cqrs.position WHERE topic = %s", topic)
    return tuple(row[0]) if row else (None, None)


def missed(run, topic, messages):
    """True if the replica has not had all events of these messages."""
    had = position(run, topic)
    lasts = [last_of(properties) for properties, _ in messages]
    return had[1] is not None and any(last and last[0] == had[0] and last > had for last in lasts)


@fault("message removed", "apply", "replica", "broker", loses="topic", plan=topics, weight=2)
def message_removed(run, topic):
    before = run.last_incident()
    with applier_away(run, topic) as channel:
        taken = take(channel, topic, 1, position(run, topic))
        lost = missed(run, topic, taken)
    if lost:
        run.require_incident(topic, "a message was removed", before)
    run.note(f"{len(taken)} message removed from {topic}, {'' if lost else 'not '}missed")


@fault("messages duplicated", "apply", "broker", loses="topic", plan=topics)
def messages_duplicated(run, topic):
    """Behind the others: events that come again, late.

    The broker puts what is given back behind what the applier gave back before, so that they may
    come late the first time, too: a gap, healed by a copy.
    """
    with applier_away(run, topic) as channel:
        ready = channel.queue_declare(queue_of(topic), passive=True).method.message_count
        copies = []
        if ready:
            look = channel.connection.channel()
            look.basic_qos(prefetch_count=min(5, ready))
            for method, properties, body in look.consume(queue_of(topic), inactivity_timeout=10):
                if method is not None:
                    copies.append((properties, body))
                if method is None or len(copies) == min(5, ready):
                    break
            look.close()
        for properties, body in copies:
            channel.basic_publish("", queue_of(topic), body, properties)
    span = f", to {last_of(copies[-1][0])}" if copies else ""
    run.note(f"{len(copies)} messages of {topic} twice{span}")


@fault("messages reordered", "apply", "broker", loses="topic", plan=topics)
def messages_reordered(run, topic):
    """The first ones come last: a gap, healed by a copy, and then duplicates."""
    with applier_away(run, topic) as channel:
        taken = take(channel, topic, 2, position(run, topic))
        for properties, body in reversed(taken):
            channel.basic_publish("", queue_of(topic), body, properties)
    run.note(f"{len(taken)} messages of {topic} came last")


def damages(rng, longest):
    return {**topics(rng, longest), "damage": rng.choice(["cut off", "garbled", "emptied", "without headers"])}


@fault("message corrupted", "apply", "replica", "broker", loses="topic", plan=damages, weight=2)
def message_corrupted(run, topic, damage):
    before = run.last_incident()
    with applier_away(run, topic) as channel:
        taken = take(channel, topic, 1, position(run, topic))
        lost = missed(run, topic, taken)
        for properties, body in taken:
            if damage == "cut off":
                body = body[:-len(body) // 3]
            elif damage == "garbled":
                body = body[:20] + bytes([255, 0, 34, 92]) + body[24:]
            elif damage == "emptied":
                body = b""
            else:
                properties.headers = {}
            channel.basic_publish("", queue_of(topic), body, properties)
    if lost:
        run.require_incident(topic, f"a message was {damage}", before)
    run.note(f"{len(taken)} message of {topic} {damage}, {'' if lost else 'not '}missed")


@fault("queue purged", "apply", "replica", "broker", loses="topic", plan=topics, weight=2)
def queue_purged(run, topic):
    before = run.last_incident()
    with applier_away(run, topic) as channel:
        epoch, sequence = position(run, topic)
        seen = run.witness.last(topic)
        count = channel.queue_purge(queue_of(topic)).method.message_count
    # The witness had them before, so they had been in this queue too.
    lost = sequence is not None and seen[0] == epoch and seen[1] > sequence
    if lost:
        run.require_incident(topic, "the queue was purged", before)
    run.note(f"{count} messages of {topic} purged, {'' if lost else 'not '}missed")


@fault("queue purged under load", "apply", "broker", loses="topic", plan=topics)
def queue_purged_under_load(run, topic):
    with channel_of(run) as channel:
        channel.queue_purge(queue_of(topic))


@fault("queue deleted", "apply", "replica", "broker", loses="topic", plan=topics, weight=2)
def queue_deleted(run, topic):
    before = run.last_incident()
    with applier_away(run, topic) as channel:
        epoch, sequence = position(run, topic)
        seen = run.witness.last(topic)
        channel.queue_delete(queue_of(topic))
    lost = sequence is not None and seen[0] == epoch and seen[1] > sequence
    if lost:
        run.require_incident(topic, "the queue was deleted", before)
    run.note(f"queue of {topic} deleted, {'' if lost else 'not '}missed")


@fault("queue deleted under load", "apply", "broker", loses="topic", plan=topics)
def queue_deleted_under_load(run, topic):
    with channel_of(run) as channel:
        channel.queue_delete(queue_of(topic))


@fault("forged messages", "broker", plan=topics)
def forged_messages(run, topic):
    """Straight into the replica's queue: refused, and nothing else happens."""
    headers = {"cqrs-source": "/x", "cqrs-topic": topic, "cqrs-epoch": 1, "cqrs-sequence": 1, "cqrs-count": 1,
               "cqrs-lsn": "0/1", "cqrs-previous-lsn": "0/0", "cqrs-more": False, "cqrs-committed": 1}
    event = b'[{"specversion":"1.0","id":"0/1.1","source":"/x","type":"' + topic.encode() + b'.ledger.truncate","time":"2026-01-01T00:00:00Z"}]'
    with channel_of(run) as channel:
        for changed, body in [({}, event), ({"cqrs-topic": 7}, event), ({"cqrs-count": -1}, event), ({"cqrs-epoch": "x"}, b"DROP TABLE"), ({}, b"[" * 3000)]:
            channel.basic_publish("", queue_of(topic), body, pika.BasicProperties(headers={**headers, **changed}))


@fault("broker alarm", "broker", plan=seconds(1, 30))
def broker_alarm(run, seconds):
    """Memory alarm: it takes no messages, the relay waits."""
    run.system.servers("broker", "ctl", "set_vm_memory_high_watermark", "absolute", "1MB")
    time.sleep(seconds)
    run.system.servers("broker", "ctl", "set_vm_memory_high_watermark", "0.4")
