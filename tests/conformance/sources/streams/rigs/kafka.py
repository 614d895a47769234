"""A topic of the mock cluster that librdkafka has: real clients speak to it, and it keeps 5 MB of a partition.

Topics come into being with what is first produced to them, with four partitions, and stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Producer

from sources.mapping import EventSourceMapping
from sources.source import Services
from sources.stream import Record
from tests.conformance.sources.streams.rig import Fixture, padded


class KafkaWorld:
    forgets = True
    goes_away = False
    remakes = False
    knows_times = False
    vanishes = False
    most_shards = 4
    most_bytes = 900_000
    kept_bytes = 5_000_000

    def __init__(self, directory: Path, fixture: Fixture) -> None:
        self.topic = f"clicks-{uuid4().hex[:8]}"
        self.partitions = 4

    async def start(self) -> None:
        self.running = True
        self.cluster = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        brokers = await asyncio.to_thread(lambda: self.cluster.list_topics(timeout=10).brokers)
        self.servers = tuple(f"{each.host}:{each.port}" for each in brokers.values())
        self.writer = Producer({"bootstrap.servers": ",".join(self.servers), "log_level": 0})

    async def close(self) -> None:
        self.running = False
        del self.writer
        del self.cluster

    def services(self) -> Services:
        absent: Any = None
        return Services(absent, absent, absent)

    def mapping(self) -> EventSourceMapping:
        return EventSourceMapping("uuid-1", "f", topic=self.topic, bootstrap_servers=self.servers)

    def identifier(self, record: Record) -> Any:
        return {"partition": f"{self.topic}-{record.event['partition']}", "offset": record.event["offset"]}

    async def create(self, shards: int = 1, *, forgetful: bool = False) -> None:
        await asyncio.to_thread(lambda: self.writer.list_topics(self.topic, timeout=10))

    async def delete(self) -> None:
        raise NotImplementedError

    async def put(self, numbers: Iterable[int], shard: int = 0, size: int = 0) -> None:
        for each in numbers:
            self.writer.produce(self.topic, padded(each, size), f"k{each % 3}", shard, headers={"n": str(each)})
        left = await asyncio.to_thread(self.writer.flush, 30)
        assert left == 0

    async def forget(self) -> None:
        await self.put(range(1000, 1020), size=500_000)

    async def lose(self) -> None:
        raise NotImplementedError

    async def restore(self) -> None:
        raise NotImplementedError


WORLDS = {"librdkafka": KafkaWorld}
