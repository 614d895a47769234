"""A stream of the own broker as a source: its partitions are the shards, its offsets the positions.

A stream called NAME is one shard; with n partitions it is the streams ``NAME-0`` … ``NAME-(n-1)``, found by asking the
broker, so that new ones are seen. ``shardId-000000000002`` is partition 2.

A record's time is what its publisher says (property ``timestamp``, header ``timestamp_in_ms``); where it says nothing, the
moment of reading, which never goes back within a reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from broker.broker import Broker
from broker.errors import BrokerError, QueueNotFound
from sources.broker_stream_reader import BrokerStreamReader, Maker
from sources.errors import SourceMissing, SourceUnavailable
from sources.stream import Start, records_payload, sequence_number

PATIENCE_S = 10.0
"""How long the broker may take to say whether a stream exists."""

_PREFIX = "shardId-"


def shard_id(partition: int) -> str:
    """
    >>> shard_id(2)
    'shardId-000000000002'
    """
    return f"{_PREFIX}{partition:012d}"


def partition_of(shard: str) -> int:
    """The inverse of :func:`shard_id`. Raises SourceMissing.

    >>> partition_of("shardId-000000000002")
    2
    """
    number = shard.removeprefix(_PREFIX)
    if not shard.startswith(_PREFIX) or not number.isdecimal():
        raise SourceMissing(f"{shard!r} names no shard; the first one is {shard_id(0)}")
    return int(number)


class BrokerStream:
    """See :class:`sources.stream.Stream`. ``records`` makes what a function sees."""

    def __init__(self, name: str, broker: Broker, clock: Callable[[], datetime], records: Maker) -> None:
        self._name = name
        self._broker = broker
        self._clock = clock
        self._records = records
        self._partitions: tuple[str, ...] = ()
        self._readers: set[BrokerStreamReader] = set()

    async def start(self) -> None:
        """The broker is connected by whoever made it."""

    async def close(self) -> None:
        readers, self._readers = self._readers, set()
        await asyncio.gather(*(reader.close() for reader in readers))

    async def shards(self) -> Sequence[str]:
        self._partitions = await self._look()
        return [shard_id(number) for number in range(len(self._partitions))]

    async def open(self, shard: str, start: Start) -> BrokerStreamReader:
        number = partition_of(shard)
        if number >= len(self._partitions):
            await self.shards()
        if number >= len(self._partitions):
            raise SourceMissing(f"the stream {self._name!r} has {len(self._partitions)} partitions, and no {shard}")
        reader = BrokerStreamReader(self._broker, self._partitions[number], shard, start, self._records, self._clock)
        await reader.open()
        self._readers.add(reader)
        reader.on_close = lambda: self._readers.discard(reader)
        return reader

    def payload(self, records: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> bytes:
        return records_payload(records, more)

    def failure_key(self, identifier: Any) -> int | None:
        return sequence_number(identifier)

    async def _look(self) -> tuple[str, ...]:
        """The streams there are. Partitions that were there stay: only the first is asked for, and whether there are more."""
        if await self._exists(self._name):
            return (self._name,)
        if not await self._exists(f"{self._name}-0"):
            raise SourceMissing(
                f"there is no stream {self._name!r}. Create it with `fnrunner stream create {self._name}`, "
                "or delete the event source mapping"
            )
        count = max(1, len(self._partitions) if self._name not in self._partitions else 1)
        while await self._exists(f"{self._name}-{count}"):
            count += 1
        return tuple(f"{self._name}-{number}" for number in range(count))

    async def _exists(self, queue: str) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._broker.depth(queue)
        except QueueNotFound:
            return False
        except (BrokerError, TimeoutError) as error:
            raise SourceUnavailable(f"the broker does not say whether {queue!r} exists: {error}") from error
        return True
