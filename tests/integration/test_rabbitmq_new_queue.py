"""A queue in the moment in which it is declared: another client publishes to it already."""

from __future__ import annotations

import asyncio

from broker import names
from broker.errors import Unroutable
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Queue, Topology

QUEUES = 20


async def test_what_is_published_while_somebody_else_declares_the_queue_is_taken(rabbitmq_url: str) -> None:
    declaring, publishing = RabbitMQBroker(rabbitmq_url), RabbitMQBroker(rabbitmq_url)
    await declaring.start()
    await publishing.start()
    try:
        for number in range(QUEUES):
            queue = Queue(f"new-{number}", dead_letter_exchange=names.DEAD, dead_letter_routing_key="new")
            await asyncio.gather(
                declaring.declare(Topology(queues=(queue,))), _as_soon_as_it_is_there(publishing, queue.name)
            )
            delivery = await declaring.get(queue.name)
            assert delivery is not None
            assert delivery.message.body == b"early"
            await delivery.ack()
    finally:
        await declaring.close()
        await publishing.close()


async def _as_soon_as_it_is_there(broker: RabbitMQBroker, queue: str) -> None:
    """Raises Refused."""
    while True:
        try:
            return await broker.publish(Message(b"early"), routing_key=queue)
        except Unroutable:
            await asyncio.sleep(0)
