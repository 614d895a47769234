"""Streams of RabbitMQ whose records went: dropped by retention, or with the stream while its reader was away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import aiormq
import pytest

from broker.broker import Delivery
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Queue, QueueKind, Topology
from tests.rabbitmq_server import RabbitMQServer

PATIENCE_S = 40.0
SEGMENT_BYTES = 100_000


@pytest.fixture
async def broker(rabbitmq_url: str) -> AsyncIterator[RabbitMQBroker]:
    client = RabbitMQBroker(rabbitmq_url)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def trimmed(broker: RabbitMQBroker, rabbitmq_url: str) -> str:
    """A stream of small segments whose first records retention has dropped already."""
    connection = await aiormq.connect(rabbitmq_url)
    channel = await connection.channel()
    bounds = {"x-max-length-bytes": 5 * SEGMENT_BYTES, "x-stream-max-segment-size-bytes": SEGMENT_BYTES}
    await channel.queue_declare("s", durable=True, arguments={"x-queue-type": "stream", **bounds})
    await connection.close()
    for number in range(200):
        await broker.publish(Message(b"%d " % number + bytes(5_000)), routing_key="s")
    return "s"


class Reader:
    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()

    def __call__(self, delivery: Delivery) -> None:
        self._arrived.put_nowait(delivery)

    async def next(self) -> int:
        """The offset of the next record."""
        return (await self.record())[0]

    async def record(self) -> tuple[int, int]:
        """The offset of the next record, acknowledged, and the number at the front of its body."""
        async with asyncio.timeout(PATIENCE_S):
            delivery = await self._arrived.get()
        await delivery.ack()
        assert delivery.offset is not None
        return delivery.offset, int(delivery.message.body.split(b" ", 1)[0])


async def first_of(broker: RabbitMQBroker, stream: str, offset: int | str) -> int:
    reader = Reader()
    subscription = await broker.subscribe(stream, reader, prefetch=1, offset=offset)  # type: ignore[arg-type]
    try:
        return await reader.next()
    finally:
        await subscription.cancel()


async def settled_first(broker: RabbitMQBroker, stream: str) -> int:
    """The first offset there is, once retention has done its work."""
    seen = -1
    async with asyncio.timeout(PATIENCE_S):
        while (first := await first_of(broker, stream, "first")) != seen:
            seen = first
            await asyncio.sleep(1.0)
    return first


async def test_a_number_that_retention_dropped_starts_at_the_first_record_there_is(
    broker: RabbitMQBroker, trimmed: str
) -> None:
    first = await settled_first(broker, trimmed)
    assert first > 1
    for dropped in (0, 1, first - 1):
        assert await first_of(broker, trimmed, dropped) == first
    for there in (first, first + 1):
        assert await first_of(broker, trimmed, there) == there


async def test_a_number_is_left_out_where_a_segment_begins_and_no_record_is_missing(
    broker: RabbitMQBroker, trimmed: str
) -> None:
    reader = Reader()
    first = await settled_first(broker, trimmed)
    await broker.subscribe(trimmed, reader, prefetch=10, offset=first)
    offsets: list[int] = []
    numbers: list[int] = []
    while not numbers or numbers[-1] != 199:
        offset, number = await reader.record()
        offsets.append(offset)
        numbers.append(number)
    assert numbers == list(range(numbers[0], 200))
    steps = {later - earlier for earlier, later in pairwise(offsets)}
    assert steps <= {1, 2}
    assert 2 in steps


async def test_a_number_beyond_the_end_of_a_trimmed_stream_starts_at_its_end(
    broker: RabbitMQBroker, trimmed: str
) -> None:
    reader = Reader()
    await broker.subscribe(trimmed, reader, prefetch=1, offset=900)
    await broker.publish(Message(b"200 is next"), routing_key=trimmed)
    assert (await reader.record())[1] == 200


async def test_a_stream_made_again_while_its_reader_was_away_is_read_from_its_first_record(
    private_rabbitmq: RabbitMQServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, client = (RabbitMQBroker(private_rabbitmq.url) for _ in range(2))
    await owner.start()
    await client.start()
    topology = Topology(queues=(Queue("s", QueueKind.STREAM),))
    await owner.declare(topology)
    for number in range(20):
        await owner.publish(Message(b"%d" % number), routing_key="s")
    reader = Reader()
    await client.subscribe("s", reader, prefetch=10, offset="first")
    assert [await reader.next() for _ in range(20)] == list(range(20))
    back, connect = asyncio.Event(), client._consuming._connect

    async def away() -> None:
        await back.wait()
        await connect()

    monkeypatch.setattr(client._consuming, "_connect", away)
    await asyncio.to_thread(private_rabbitmq.close_connections)
    await owner.delete(topology)
    await owner.declare(topology)
    for number in range(5):
        await owner.publish(Message(b"%d" % number), routing_key="s")
    back.set()
    assert [await reader.next() for _ in range(5)] == list(range(5))
    await client.close()
    await owner.close()
