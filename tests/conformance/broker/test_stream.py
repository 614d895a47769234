"""Streams: read without removing, from any place, in order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from broker.broker import Broker, Delivery, Offset
from broker.message import Message
from broker.topology import Queue, QueueKind
from tests.conformance.broker.conftest import BrokerFactory, Declare
from tests.conformance.broker.inbox import Inbox


@pytest.fixture
async def stream(declare: Declare, name: str) -> str:
    await declare(Queue(name, QueueKind.STREAM, max_size_bytes=100_000_000, max_age=timedelta(hours=1)))
    return name


async def put(broker: Broker, stream: str, *numbers: int) -> None:
    for n in numbers:
        await broker.publish(Message(b"%d" % n, message_id=f"m{n}", headers={"partition-key": "k"}), routing_key=stream)


async def read(inbox: Inbox, count: int) -> list[Delivery]:
    """``count`` records, each acknowledged when the next is due."""
    records = []
    for _ in range(count):
        records.append(await inbox.next())
        await records[-1].ack()
    return records


async def test_from_the_first_record_every_record_comes_in_order(broker: Broker, stream: str) -> None:
    await put(broker, stream, *range(20))
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=5, offset="first")
    records = await read(inbox, 20)
    assert [int(r.message.body) for r in records] == list(range(20))
    assert [r.offset for r in records] == list(range(20))
    assert (records[3].message.message_id, records[3].message.headers["partition-key"]) == ("m3", "k")
    assert (records[3].queue, records[3].redelivered) == (stream, False)


async def test_from_a_number_reading_starts_with_that_record(broker: Broker, stream: str) -> None:
    await put(broker, stream, *range(10))
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=10, offset=6)
    assert [r.offset for r in await read(inbox, 4)] == [6, 7, 8, 9]
    assert await inbox.is_quiet()


async def test_from_a_number_that_is_not_there_yet_reading_starts_when_it_is(broker: Broker, stream: str) -> None:
    await put(broker, stream, 0, 1)
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=10, offset=2)
    assert await inbox.is_quiet()
    await put(broker, stream, 2)
    assert (await inbox.next()).offset == 2


@pytest.mark.parametrize("offset", ["next", None])
async def test_from_next_only_new_records_come(broker: Broker, stream: str, offset: Offset | None) -> None:
    await put(broker, stream, 0, 1)
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=10, offset=offset)
    await put(broker, stream, 2, 3)
    assert [int(r.message.body) for r in await read(inbox, 2)] == [2, 3]


async def test_from_last_the_newest_record_comes(broker: Broker, stream: str) -> None:
    await put(broker, stream, *range(5))
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=10, offset="last")
    while int((await inbox.next()).message.body) != 4:
        pass
    await put(broker, stream, 5)
    assert (await inbox.next()).offset == 5


async def test_from_a_time_the_records_since_then_come(broker: Broker, stream: str) -> None:
    await put(broker, stream, 0, 1)
    await asyncio.sleep(1.2)  # The time goes over the wire in whole seconds.
    since = datetime.now(UTC)
    await put(broker, stream, 2, 3)
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=10, offset=since)
    assert [r.offset for r in await read(inbox, 2)] == [2, 3]


async def test_reading_removes_nothing(broker: Broker, broker_factory: BrokerFactory, stream: str) -> None:
    await put(broker, stream, *range(3))
    other = await broker_factory.another()
    for client in (broker, other, broker):
        inbox = Inbox()
        subscription = await client.subscribe(stream, inbox, prefetch=10, offset="first")
        assert [r.offset for r in await read(inbox, 3)] == [0, 1, 2]
        await subscription.cancel()


async def test_a_stream_gives_no_more_than_the_prefetch(broker: Broker, stream: str) -> None:
    await put(broker, stream, *range(10))
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=2, offset="first")
    held = await inbox.take(2)
    assert await inbox.is_quiet()
    for delivery in held:
        await delivery.ack()
    assert [d.offset for d in await inbox.take(2)] == [2, 3]
    assert await inbox.is_quiet()


async def test_a_paused_reader_goes_on_where_it_was(broker: Broker, stream: str) -> None:
    await put(broker, stream, *range(6))
    inbox = Inbox()
    subscription = await broker.subscribe(stream, inbox, prefetch=2, offset="first")
    held = await inbox.take(2)
    await subscription.set_prefetch(0)
    for delivery in held:
        await delivery.ack()
    assert await inbox.is_quiet()
    await subscription.set_prefetch(4)
    rest = {d.offset for d in await read(inbox, 4)}
    assert {2, 3, 4, 5} <= rest


async def test_messages_published_together_all_land_on_the_stream(broker: Broker, stream: str) -> None:
    await asyncio.gather(*(put(broker, stream, n) for n in range(200)))
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=50, offset="first")
    records = await read(inbox, 200)
    assert sorted(int(r.message.body) for r in records) == list(range(200))
    assert [r.offset for r in records] == list(range(200))


async def test_a_record_of_a_megabyte_arrives_whole(broker: Broker, stream: str) -> None:
    body = bytes(range(256)) * 4096
    await broker.publish(Message(body), routing_key=stream)
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=1, offset="first")
    assert (await inbox.next()).message.body == body
