"""What is particular about Kafka."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sources.adapters.kafka import ADAPTER
from sources.errors import Misconfigured, NotSupported, PositionLost, SourceMissing, SourceUnavailable
from sources.kafka_client import HELD_KB, configuration
from sources.mapping import EventSourceMapping, SourceAccess
from sources.stream import After, Stream
from tests.conformance.sources.streams.reading import OLDEST, failure, numbers, opened, take
from tests.conformance.sources.streams.rigs.kafka import KafkaWorld


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KafkaWorld]:
    world = KafkaWorld(tmp_path, lambda name: None)
    await world.start()
    yield world
    if world.running:
        await world.close()


@pytest.fixture
async def stream(world: KafkaWorld) -> AsyncIterator[Stream]:
    stream = ADAPTER.open(world.mapping(), world.services())
    yield stream
    await stream.close()


async def test_a_batch_names_its_partition(world: KafkaWorld, stream: Stream) -> None:
    await world.create()
    await world.put([5], shard=2)
    (record,) = await take(await stream.open(f"{world.topic}-2", OLDEST), 1)
    event = json.loads(stream.payload([record.event], {}))
    assert list(event["records"]) == [f"{world.topic}-2"]
    assert event["bootstrapServers"] == world.servers[0]
    assert event["records"][f"{world.topic}-2"][0]["headers"] == [{"n": [53]}]


async def test_a_cluster_that_is_gone_is_unavailable(world: KafkaWorld, stream: Stream) -> None:
    await world.create()
    await world.put(range(3))
    reader = await opened(stream)
    assert numbers(await take(reader, 3)) == [0, 1, 2]
    await world.close()
    assert "Kafka at 127.0.0.1" in str(await failure(reader, SourceUnavailable))
    with pytest.raises(SourceUnavailable):
        await stream.shards()


async def test_an_offset_beyond_the_end_means_another_topic(world: KafkaWorld, stream: Stream) -> None:
    await world.create()
    await world.put(range(3))
    reader = await opened(stream, After(40, "0123456789abcdef"))
    lost = await failure(reader, PositionLost)
    assert isinstance(lost, PositionLost)
    assert lost.remade
    assert numbers(await take(reader, 3)) == [0, 1, 2]


async def test_another_record_at_the_offset_means_another_topic(world: KafkaWorld, stream: Stream) -> None:
    await world.create()
    await world.put(range(3))
    reader = await opened(stream, After(1, "0123456789abcdef"))
    lost = await failure(reader, PositionLost)
    assert isinstance(lost, PositionLost)
    assert lost.remade
    assert numbers(await take(reader, 3)) == [0, 1, 2]


async def test_what_the_consumer_group_committed_comes_before_the_starting_position(world: KafkaWorld) -> None:
    from confluent_kafka import Consumer, TopicPartition

    await world.create()
    await world.put(range(5))
    group = Consumer({"bootstrap.servers": world.servers[0], "group.id": "mine", "log_level": 0})
    group.commit(offsets=[TopicPartition(world.topic, 0, 3)], asynchronous=False)
    group.close()
    stream = ADAPTER.open(replace(world.mapping(), consumer_group="mine"), world.services())
    assert numbers(await take(await opened(stream), 2)) == [3, 4]
    await stream.close()


async def test_a_shard_that_there_is_not_is_missing(world: KafkaWorld, stream: Stream) -> None:
    await world.create()
    for shard in (f"{world.topic}-99", "other-0", "nonsense"):
        with pytest.raises(SourceMissing):
            await stream.open(shard, OLDEST)


@pytest.mark.parametrize("kind", ["SASL_SCRAM_512_AUTH", "BASIC_AUTH", "SERVER_ROOT_CA_CERTIFICATE"])
async def test_what_is_not_supported_is_refused_by_name(world: KafkaWorld, kind: str) -> None:
    access = (SourceAccess("VPC_SUBNET", "subnet:1"), SourceAccess(kind, "arn:aws:secretsmanager:r:a:secret:s"))
    with pytest.raises(NotSupported, match=kind):
        ADAPTER.open(replace(world.mapping(), access=access), world.services())


async def test_where_pollers_stand_says_nothing_here(world: KafkaWorld) -> None:
    mapping = replace(world.mapping(), access=(SourceAccess("VPC_SUBNET", "subnet:1"),))
    await ADAPTER.open(mapping, world.services()).close()


async def test_a_managed_cluster_needs_its_servers_named(world: KafkaWorld) -> None:
    arn = "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1"
    managed = EventSourceMapping("u", "f", source_arn=arn, topic=world.topic)
    with pytest.raises(Misconfigured, match="SelfManagedEventSource"):
        ADAPTER.open(managed, world.services())
    await world.create()
    await world.put([1])
    stream = ADAPTER.open(
        managed, replace(world.services(), endpoints={"kafka": f"{world.servers[0]}, {world.servers[0]}"})
    )
    (record,) = await take(await opened(stream), 1)
    assert json.loads(stream.payload([record.event], {}))["eventSourceArn"] == arn
    await stream.close()


def test_what_is_fetched_ahead_is_bounded() -> None:
    settings = configuration(["a:1"], "g")
    assert settings["queued.max.messages.kbytes"] == HELD_KB == 16_384
    assert settings["enable.auto.commit"] is False


async def test_an_empty_read_of_a_cluster_that_works_is_no_failure(world: KafkaWorld, stream: Stream) -> None:
    await world.create()
    reader = await opened(stream)
    for _ in range(3):
        assert not await reader.read(1, timedelta(milliseconds=50))
