"""What is particular about streams of the own broker: partitions that come, and whatever anybody may publish."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.message import Message
from broker.topology import Queue, Topology
from sources.adapters.kinesis_stream import ADAPTER
from sources.errors import PositionLost, SourceMissing
from sources.stream import Record, Stream
from tests.conformance.sources.streams.reading import OLDEST, SHORT, failure, numbers, opened, take
from tests.conformance.sources.streams.rigs.broker_world import BrokerWorld
from tests.conformance.sources.streams.rigs.kinesis_stream import WORLDS


@pytest.fixture(params=sorted(WORLDS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerWorld]:
    world: BrokerWorld = WORLDS[request.param](tmp_path, request.getfixturevalue)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def stream(world: BrokerWorld) -> AsyncIterator[Stream]:
    stream = ADAPTER.open(world.mapping(), world.services())
    yield stream
    await stream.close()


async def only(world: BrokerWorld, stream: Stream, message: Message) -> Record:
    """The record that is made of the message."""
    await world.create()
    await world.writer.publish(message, routing_key=world.name)
    (record,) = await take(await opened(stream), 1)
    return record


async def test_a_partition_that_is_added_is_found(world: BrokerWorld, stream: Stream) -> None:
    await world.create(shards=2)
    assert list(await stream.shards()) == ["shardId-000000000000", "shardId-000000000001"]
    await world.create(shards=4)
    assert list(await stream.shards())[2:] == ["shardId-000000000002", "shardId-000000000003"]
    await world.put([7], shard=3)
    assert numbers(await take(await opened(stream, shard=3), 1)) == [7]


async def test_a_shard_that_there_is_not_is_missing(world: BrokerWorld, stream: Stream) -> None:
    await world.create()
    for shard in ("shardId-000000000001", "nonsense"):
        with pytest.raises(SourceMissing):
            await stream.open(shard, OLDEST)


async def test_a_queue_is_refused_and_keeps_its_messages(world: BrokerWorld, stream: Stream) -> None:
    topology = Topology(queues=(Queue(world.name),))
    await world.writer.declare(topology)
    await world.writer.publish(Message(b"1"), routing_key=world.name)
    with pytest.raises(SourceMissing, match="not a stream"):
        await opened(stream)
    kept = await world.writer.get(world.name)
    assert kept is not None
    assert not kept.redelivered
    await kept.ack()
    await world.writer.delete(topology)


async def test_a_record_of_nothing_but_a_body_is_delivered(world: BrokerWorld, stream: Stream) -> None:
    record = await only(world, stream, Message(b""))
    assert record.data == b""
    assert record.key == ""
    assert record.event["kinesis"]["data"] == ""
    assert abs(datetime.now(UTC) - record.arrived) < timedelta(minutes=1)


async def test_a_record_of_more_than_a_megabyte_is_whole(world: BrokerWorld, stream: Stream) -> None:
    body = bytes(range(256)) * 4096 + b"!"
    record = await only(world, stream, Message(body))
    assert base64.b64decode(record.event["kinesis"]["data"]) == body


@pytest.mark.parametrize(
    ("header", "key"),
    [("a", "a"), (7, "7"), (1.5, "1.5"), (True, ""), (None, ""), ("k" * 10_000, "k" * 10_000), (b"\xff", "\ufffd")],
    ids=str,
)
async def test_a_key_is_what_can_be_one(world: BrokerWorld, stream: Stream, header: Any, key: str) -> None:
    record = await only(world, stream, Message(b"x", headers={"partition-key": header}))
    assert record.key == record.event["kinesis"]["partitionKey"] == key


async def test_headers_that_are_tables_and_lists_do_no_harm(world: BrokerWorld, stream: Stream) -> None:
    headers = {"partition-key": {"a": [1]}, "timestamp_in_ms": [1], "traceparent": {"x": "y"}}
    record = await only(world, stream, Message(b"x", headers=headers))
    assert (record.key, record.traceparent) == ("", "")


async def test_a_traceparent_is_handed_on(world: BrokerWorld, stream: Stream) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert (await only(world, stream, Message(b"x", headers={"traceparent": parent}))).traceparent == parent


async def test_the_event_is_that_of_kinesis(world: BrokerWorld, stream: Stream) -> None:
    moment = datetime(2026, 1, 1, 10, tzinfo=UTC)
    record = await only(world, stream, Message(b"hi", headers={"partition-key": "k"}, timestamp=moment))
    assert record.event == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "k",
            "sequenceNumber": "0",
            "data": "aGk=",
            "approximateArrivalTimestamp": moment.timestamp(),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": "shardId-000000000000:0",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/fnrunner",
        "awsRegion": "eu-west-1",
        "eventSourceARN": f"arn:aws:kinesis:eu-west-1:000000000000:stream/{world.name}",
    }


async def test_a_reader_that_retention_overtakes_says_what_is_gone(world: BrokerWorld, stream: Stream) -> None:
    await world.create(forgetful=True)
    await world.put(range(3), size=1000)
    reader = await opened(stream)
    first = (await take(reader, 1))[0]
    # More than is held and under way to the reader, in small records: no subscription ends over it.
    for _ in range(4):
        await asyncio.gather(*(world.put(range(1000, 1020), size=1000) for _ in range(50)))
    lost = await failure(reader, PositionLost)
    assert isinstance(lost, PositionLost)
    assert lost.expected > first.position
    assert lost.found is not None
    assert lost.found > lost.expected
    assert (await take(reader, 1))[0].position == lost.found
    assert not lost.remade


async def test_many_shards_are_read_at_once(world: BrokerWorld, stream: Stream) -> None:
    await world.create(shards=12)
    await asyncio.gather(*(world.put(range(20), shard) for shard in range(12)))
    readers = [await opened(stream, shard=shard) for shard in range(12)]
    found = await asyncio.gather(*(take(reader, 20) for reader in readers))
    assert [numbers(records) for records in found] == [list(range(20))] * 12
    assert not any(await asyncio.gather(*(reader.read(1, SHORT) for reader in readers)))
