"""Publishes numbered messages for ever and prints each number once it is confirmed; killed by a test.

Acknowledges some of what it consumes, and prints that too: ``+N`` is confirmed, ``-N`` is about to be acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from broker.broker import Delivery
from broker.embedded import EmbeddedBroker
from broker.message import Message
from broker.topology import Queue, QueueKind, Topology

CONCURRENCY = 20


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())  # one write: a kill never leaves half a line that looks whole


async def main(directory: str, start: str) -> None:
    broker = EmbeddedBroker(Path(directory), delays=())
    await broker.start()
    await broker.declare(Topology(queues=(Queue("q"), Queue("s", QueueKind.STREAM))))
    tasks: set[asyncio.Task[None]] = set()
    numbers = count(int(start))

    async def publish_for_ever() -> None:
        while True:
            number = next(numbers)
            message = Message(b"%d" % number)
            await asyncio.gather(broker.publish(message, routing_key="q"), broker.publish(message, routing_key="s"))
            say(f"+{number}")

    async def settle(delivery: Delivery) -> None:
        say(f"-{int(delivery.message.body)}")
        await delivery.ack()

    def on_delivery(delivery: Delivery) -> None:
        if int(delivery.message.body) % 3 == 0:
            task = asyncio.create_task(settle(delivery))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    await broker.subscribe("q", on_delivery, prefetch=1_000)
    await asyncio.gather(*(publish_for_ever() for _ in range(CONCURRENCY)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
