"""At a RabbitMQ that is somebody else's: fnrunner leaves nothing there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import aiormq
import pytest

from broker import names
from broker.broker import Delivery, State
from broker.errors import Closed, DelayUnknown, ForeignBroker, QueueNotFound, Unroutable
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Queue, Topology, foundation
from tests.rabbitmq_server import RabbitMQServer

PATIENCE_S = 40.0


@pytest.fixture
async def guest(rabbitmq_url: str) -> AsyncIterator[RabbitMQBroker]:
    """A client of a broker that has a queue ``theirs`` with one message."""
    connection = await aiormq.connect(rabbitmq_url)
    channel = await connection.channel()
    await channel.queue_declare("theirs", durable=True)
    await channel.basic_publish(b"theirs", routing_key="theirs")
    await connection.close()
    client = RabbitMQBroker(rabbitmq_url, guest=True)
    await client.start()
    yield client
    await client.close()


def listed(server: RabbitMQServer, url: str, kind: str) -> list[str]:
    return server.control("--no-table-headers", kind, "-p", url.rpartition("/")[2], "name").split()


async def test_a_guest_consumes_and_publishes_and_leaves_nothing_behind(
    guest: RabbitMQBroker, rabbitmq: RabbitMQServer, rabbitmq_url: str
) -> None:
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    subscription = await guest.subscribe("theirs", arrived.put_nowait, prefetch=1)
    await guest.publish(Message(b"ours"), routing_key="theirs")
    async with asyncio.timeout(PATIENCE_S):
        for body in (b"theirs", b"ours"):
            delivery = await arrived.get()
            assert delivery.message.body == body
            await delivery.ack()
    await guest.publish_later(Message(b"now"), queue="theirs", delay=timedelta(0))
    async with asyncio.timeout(PATIENCE_S):
        delivery = await arrived.get()
    with pytest.raises(Unroutable):
        await delivery.dead_letter(delivery.message, "f")
    await delivery.requeue()
    await subscription.cancel()
    assert (await guest.depth("theirs")).consumers == 0
    assert guest.status.state is State.CONNECTED
    assert await asyncio.to_thread(listed, rabbitmq, rabbitmq_url, "list_queues") == ["theirs"]
    exchanges = await asyncio.to_thread(listed, rabbitmq, rabbitmq_url, "list_exchanges")
    assert "amq.topic" in exchanges
    assert not [name for name in exchanges if name.startswith("fnrunner")]


async def test_a_queue_that_goes_is_not_made_again(
    guest: RabbitMQBroker, rabbitmq: RabbitMQServer, rabbitmq_url: str
) -> None:
    subscription = await guest.subscribe("theirs", lambda _: None, prefetch=1)
    await asyncio.to_thread(rabbitmq.control, "delete_queue", "-p", rabbitmq_url.rpartition("/")[2], "theirs")
    async with asyncio.timeout(PATIENCE_S):
        while not subscription.lost:
            await asyncio.sleep(0.02)
    await asyncio.sleep(2.0)  # longer than a client of its own waits before it makes its queue again
    assert "theirs" in subscription.lost
    with pytest.raises(QueueNotFound):
        await guest.depth("theirs")
    with pytest.raises(QueueNotFound):
        await guest.get("theirs")


async def test_whatever_would_need_something_there_is_refused(guest: RabbitMQBroker) -> None:
    later = timedelta(seconds=1)
    asked = Message(b"", reply_to="theirs", correlation_id="c")
    refused: list[Callable[[], Awaitable[object]]] = [
        lambda: guest.declare(foundation(())),
        lambda: guest.delete(Topology(queues=(Queue("theirs"),))),
        lambda: guest.purge("theirs"),
        lambda: guest.publish_later(Message(b""), queue="theirs", delay=later),
        lambda: anext(guest.request(Message(b""), queue="theirs", room=later, timeout=later)),
        lambda: guest.reply(asked, Message(b"")),
        lambda: guest.broadcast(Message(b"")),
        lambda: guest.listen(lambda _: None),
    ]
    for order in refused:
        with pytest.raises(ForeignBroker):
            await order()
    with pytest.raises(ForeignBroker):
        guest.permits("p")
    with pytest.raises(ForeignBroker):
        guest.abandoned(asked)
    delivery = await guest.get("theirs")
    assert delivery is not None
    with pytest.raises(ForeignBroker):
        await delivery.retry_later(delivery.message, later)
    assert not delivery.settled
    await guest.close()
    with pytest.raises(Closed):
        await guest.publish(Message(b""), routing_key="theirs")


def test_a_guest_with_delays_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="somebody else's"):
        RabbitMQBroker("amqp://127.0.0.1", guest=True, delays=(timedelta(seconds=1),))


async def test_a_guest_is_no_harm_to_fnrunner_at_the_same_broker(guest: RabbitMQBroker, rabbitmq_url: str) -> None:
    own = RabbitMQBroker(rabbitmq_url, delays=(timedelta(milliseconds=100),))
    await own.start()
    with pytest.raises(DelayUnknown):
        await own.publish_later(Message(b""), queue="theirs", delay=timedelta(seconds=9))
    await guest.publish(Message(b"x"), exchange=names.DEAD, routing_key="nobody")
    orphan = await own.get(names.ORPHANS)
    assert orphan is not None
    await orphan.ack()
    await own.close()
