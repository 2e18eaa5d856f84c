#!/usr/bin/env python3
"""What an AMQP client that is not ours sees and does. Used by the TAP tests.

amqp.py URL bind QUEUE KEY...            a durable queue bound to the event exchange
amqp.py URL unbind QUEUE KEY             from the event exchange
amqp.py URL drain QUEUE                  prints and acknowledges what is in it: one JSON a message
amqp.py URL count QUEUE                  prints the number of ready messages
amqp.py URL purge|delete QUEUE
amqp.py URL publish EXCHANGE KEY HEADERS BODY   headers: JSON; a value {"type": "..."} is made below
amqp.py URL take QUEUE N                 removes N messages for good
amqp.py URL swap QUEUE                   takes all messages and puts them back in reverse order
amqp.py URL drop QUEUE N                 removes the Nth message (-1: the last one) and keeps the others in order
amqp.py URL duplicate QUEUE              puts all messages in twice, one after the other
"""
import json
import sys

import pika

EXCHANGE = "CQRS_EVENT_STORE"


def everything(channel, queue, limit=None):
    """What is ready, or the first `limit` of it. By consuming: a quorum queue with a single active
    consumer refuses basic.get."""
    ready = channel.queue_declare(queue, passive=True).method.message_count
    count = ready if limit is None else min(ready, limit)
    if count == 0:
        return
    channel.basic_qos(prefetch_count=min(count, 1000))
    for method, properties, body in channel.consume(queue, inactivity_timeout=60):
        if method is None:
            sys.exit(f"{queue} named {count} messages, the rest did not come")
        channel.basic_ack(method.delivery_tag)
        yield method, properties, body
        count -= 1
        if count == 0:
            break
    channel.cancel()


def plain(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def main(url, command, *arguments):
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    if command == "bind":
        channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
        channel.queue_declare(arguments[0], durable=True)
        for key in arguments[1:]:
            channel.queue_bind(arguments[0], EXCHANGE, key)
    elif command == "unbind":
        channel.queue_unbind(arguments[0], EXCHANGE, arguments[1])
    elif command == "drain":
        for method, properties, body in everything(channel, arguments[0]):
            headers = {k: plain(v) for k, v in (properties.headers or {}).items()}
            print(json.dumps({"routing_key": method.routing_key, "content_type": properties.content_type,
                              "delivery_mode": properties.delivery_mode, "message_id": properties.message_id,
                              "headers": headers, "body": json.loads(body), "size": len(body)}))
    elif command == "count":
        print(channel.queue_declare(arguments[0], passive=True).method.message_count)
    elif command == "purge":
        channel.queue_purge(arguments[0])
    elif command == "delete":
        channel.queue_delete(arguments[0])
    elif command == "publish":
        exchange, key, headers, body = arguments
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, body.encode("utf-8", "surrogateescape"),
                              pika.BasicProperties(headers=json.loads(headers), delivery_mode=2,
                                                   content_type="application/cloudevents-batch+json"))
    elif command == "take":
        print(sum(1 for _ in everything(channel, arguments[0], int(arguments[1]))))
    elif command in ("swap", "duplicate", "drop"):
        messages = list(everything(channel, arguments[0]))
        if command == "drop":  # the N-th; -1 is the last one
            again = list(messages)
            del again[int(arguments[1])]
        else:
            again = reversed(messages) if command == "swap" else messages + messages
        channel.confirm_delivery()
        for _, properties, body in again:
            channel.basic_publish("", arguments[0], body, properties)
        print(len(messages))
    else:
        sys.exit(__doc__)
    connection.close()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
