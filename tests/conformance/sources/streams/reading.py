"""Read a shard until there is enough, as patiently as a busy machine needs."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sources.errors import SourceMissing, SourceUnavailable
from sources.mapping import StartingPosition
from sources.stream import Begin, Record, ShardReader, Start, Stream
from tests.conformance.sources.streams.rig import number

PATIENCE_S = 60.0
SHORT = timedelta(milliseconds=300)
OLDEST = Begin(StartingPosition.TRIM_HORIZON)
NEWEST = Begin(StartingPosition.LATEST)


async def opened(stream: Stream, start: Start = OLDEST, shard: int = 0) -> ShardReader:
    return await stream.open(sorted(await stream.shards())[shard], start)


async def take(reader: ShardReader, count: int, limit: int = 100) -> list[Record]:
    """As many records as that. Raises TimeoutError, and what reading raises."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            records += await reader.read(min(limit, count - len(records)), timedelta(seconds=1))
    return records


async def survive(reader: ShardReader, count: int) -> list[Record]:
    """As :func:`take`, through times when the source is away."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            try:
                records += await reader.read(count - len(records), timedelta(seconds=1))
            except (SourceUnavailable, SourceMissing):
                await asyncio.sleep(0.05)
    return records


async def failure(reader: ShardReader, kind: type[Exception]) -> Exception:
    """The first error of this kind that reading raises; records are passed over."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await reader.read(100, SHORT)
            except kind as error:
                return error
            except (SourceUnavailable, SourceMissing):
                await asyncio.sleep(0.05)


def numbers(records: list[Record]) -> list[int]:
    return [number(record) for record in records]
