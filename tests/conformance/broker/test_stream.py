"""Streams: read without removing, from any place, in order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from broker.broker import Broker, Delivery, Offset
from broker.errors import QueueNotFound
from broker.message import Message
from broker.topology import Queue, QueueKind, Topology
from tests.conformance.broker.conftest import BrokerFactory, Declare
from tests.conformance.broker.inbox import Inbox, eventually


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


async def test_from_a_number_beyond_the_end_the_next_record_comes_and_shows_where_the_end_was(
    broker: Broker, stream: str
) -> None:
    await put(broker, stream, 0, 1, 2)
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=10, offset=500)
    assert await inbox.is_quiet()
    await put(broker, stream, 3, 4)
    assert [r.offset for r in await read(inbox, 2)] == [3, 4]


async def test_from_a_number_beyond_the_end_of_an_empty_stream_the_first_record_comes(
    broker: Broker, stream: str
) -> None:
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=10, offset=500)
    await put(broker, stream, 0)
    assert (await inbox.next()).offset == 0


async def test_from_a_number_within_records_that_were_published_together_reading_starts_exactly_there(
    broker: Broker, stream: str
) -> None:
    await asyncio.gather(*(put(broker, stream, n) for n in range(500)))
    for number in (0, 1, 250, 498, 499):
        inbox = Inbox()
        subscription = await broker.subscribe(stream, inbox, prefetch=1, offset=number)
        assert [r.offset for r in await read(inbox, 1)] == [number]
        await subscription.cancel()


async def test_from_a_time_no_record_at_or_after_it_is_passed_over(broker: Broker, stream: str) -> None:
    await put(broker, stream, 0, 1)
    since = datetime.now(UTC)
    await asyncio.gather(*(put(broker, stream, n) for n in range(2, 200)))
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=50, offset=since)
    offsets = [r.offset for r in await read(inbox, 198)]
    assert offsets == list(range(offsets[0] or 0, (offsets[0] or 0) + 198))
    assert (offsets[0] or 0) <= 2


async def test_from_a_time_to_come_the_next_record_comes(broker: Broker, stream: str) -> None:
    await put(broker, stream, 0)
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=1, offset=datetime.now(UTC) + timedelta(hours=1))
    assert await inbox.is_quiet()
    await put(broker, stream, 1)
    assert (await inbox.next()).offset == 1


async def test_properties_and_headers_of_a_record_survive(broker: Broker, stream: str) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    sent = Message(
        b"x",
        message_id="m",
        headers={"partition-key": "k", "n": 1, "big": 2**40, "half": 0.5, "yes": True, "raw": b"\xff", "at": at},
        content_type="application/json",
        correlation_id="c",
        timestamp=at,
        type="t",
        app_id="a",
    )
    await broker.publish(sent, routing_key=stream)
    await broker.publish(Message(b"bare"), routing_key=stream)
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=10, offset="first")
    full, bare = await read(inbox, 2)
    assert full.message == sent
    assert bare.message == Message(b"bare")  # no time of arrival either


async def gone(broker: Broker, stream: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await broker.depth(stream)
            except QueueNotFound:
                return
            await asyncio.sleep(0.01)


async def test_a_subscription_says_that_its_stream_is_gone_and_reads_one_that_is_made_again_from_its_first_record(
    broker: Broker, broker_factory: BrokerFactory, stream: str
) -> None:
    reader = await broker_factory.another()
    inbox = Inbox()
    await put(broker, stream, *range(10))
    subscription = await reader.subscribe(stream, inbox, prefetch=5, offset="first")
    await read(inbox, 9)
    unsettled = await inbox.next()
    assert subscription.lost == ""
    topology = Topology(
        queues=(Queue(stream, QueueKind.STREAM, max_age=timedelta(hours=1), max_size_bytes=100_000_000),)
    )
    await broker.delete(topology)
    await gone(broker, stream)
    await eventually(lambda: stream in subscription.lost)
    await broker.declare(topology)
    await put(broker, stream, 100, 101)
    again = await read(inbox, 2)
    assert [(r.offset, r.message.body) for r in again] == [(0, b"100"), (1, b"101")]
    assert subscription.lost == ""
    assert unsettled.offset == 9
    await put(broker, stream, 102)
    assert (await inbox.next()).offset == 2
    await subscription.cancel()
    assert subscription.lost == ""


async def test_a_subscription_of_new_records_reads_a_stream_that_is_made_again_from_its_first(
    broker: Broker, broker_factory: BrokerFactory, stream: str
) -> None:
    reader = await broker_factory.another()
    inbox = Inbox()
    await put(broker, stream, 0)
    subscription = await reader.subscribe(stream, inbox, prefetch=5, offset="next")
    topology = Topology(
        queues=(Queue(stream, QueueKind.STREAM, max_age=timedelta(hours=1), max_size_bytes=100_000_000),)
    )
    await broker.delete(topology)
    await eventually(lambda: stream in subscription.lost)
    await broker.declare(topology)
    await put(broker, stream, 1)
    delivery = await inbox.next()
    assert (delivery.offset, delivery.message.body) == (0, b"1")


async def test_failures_on_a_stream_are_what_redelivered_says(broker: Broker, stream: str) -> None:
    await put(broker, stream, 0)
    inbox = Inbox()
    await broker.subscribe(stream, inbox, prefetch=1, offset="first")
    delivery = await inbox.next()
    assert (delivery.redelivered, delivery.failures) == (False, 0)
