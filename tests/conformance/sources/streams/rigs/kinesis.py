"""A Kinesis stream of moto."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sources.stream import Record
from tests.conformance.sources.streams.rig import Fixture, padded
from tests.conformance.sources.streams.rigs.moto_world import REGION, MotoWorld

A_CALL = 5


class KinesisWorld(MotoWorld):
    knows_times = True
    most_bytes = 1_000_000

    def __init__(self, directory: Path, fixture: Fixture) -> None:
        super().__init__("kinesis", fixture)
        self._hash_keys: list[str] = []

    def arn(self) -> str:
        return f"arn:aws:kinesis:{REGION}:123456789012:stream/{self.name}"

    def identifier(self, record: Record) -> Any:
        return record.event["kinesis"]["sequenceNumber"]

    async def create(self, shards: int = 1, *, forgetful: bool = False) -> None:
        await asyncio.to_thread(self.writer.create_stream, StreamName=self.name, ShardCount=shards)
        await asyncio.to_thread(self.writer.get_waiter("stream_exists").wait, StreamName=self.name)
        found = await asyncio.to_thread(self.writer.list_shards, StreamName=self.name)
        self._hash_keys = [each["HashKeyRange"]["StartingHashKey"] for each in found["Shards"]]

    async def delete(self) -> None:
        await asyncio.to_thread(self.writer.delete_stream, StreamName=self.name)

    async def put(self, numbers: Iterable[int], shard: int = 0, size: int = 0) -> None:
        await asyncio.to_thread(self._put, list(numbers), self._hash_keys[shard], size)

    def _put(self, numbers: list[int], hash_key: str, size: int) -> None:
        for start in range(0, len(numbers), A_CALL):
            several = numbers[start : start + A_CALL]
            entries = [
                {"Data": padded(each, size), "PartitionKey": f"k{each}", "ExplicitHashKey": hash_key}
                for each in several
            ]
            self.writer.put_records(StreamName=self.name, Records=entries)


WORLDS = {"moto": KinesisWorld}
