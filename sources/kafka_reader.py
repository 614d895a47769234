"""Reads one partition of a Kafka topic, from an offset on.

librdkafka fetches ahead on its own threads, so much and no more; here it is only asked what it has. Offsets may have gaps
(compaction, transactions), so that a loss shows in the partition's first offset alone; a topic that was made anew shows in
its last one, and in the record that was read last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sources.errors import PositionLost, SourceUnavailable
from sources.kafka_client import KafkaClient
from sources.kafka_record import KafkaRecords
from sources.mapping import StartingPosition
from sources.stream import After, Begin, Record, Start

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.05
A_TURN = 1_000
"""So many records are taken in one turn of the event loop."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where to begin. ``verify``: the record at ``offset`` was read before, and must be the same. ``lost`` is to be raised."""

    offset: int
    verify: After | None = None
    lost: PositionLost | None = None


def beginning(after: After, low: int, high: int) -> Beginning:
    """Where to go on in a partition whose oldest offset is ``low`` and whose next is ``high``.

    >>> beginning(After(7, "a"), 0, 9).offset, beginning(After(7, "a"), 8, 9)
    (7, Beginning(offset=8, verify=None, lost=None))
    """
    if after.position >= high:
        return Beginning(low, lost=PositionLost(after.position + 1, low, remade=True))
    if after.position >= low:
        return Beginning(after.position, verify=after)
    gone = low > after.position + 1
    return Beginning(low, lost=PositionLost(after.position + 1, low) if gone else None)


class KafkaReader:
    """See :class:`sources.stream.ShardReader`. With ``follows_group``, what the consumer group has committed comes before
    the mapping's starting position."""

    def __init__(
        self, client: KafkaClient, partition: int, start: Start, records: KafkaRecords, *, follows_group: bool = False
    ) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self._client = client
        self._partition = partition
        self._records = records
        self._resume = start
        self._follows_group = follows_group
        self._not_before = start.timestamp if isinstance(start, Begin) and start.exact else None
        self._verify: After | None = None
        self._loss: PositionLost | None = None
        self._consumer: Any = None
        self._assigned = False
        self._away = ""
        self._beginning: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Raises SourceUnavailable, SourceMissing."""
        try:
            self._consumer = self._client.consumer(self._hear)
            await self._begin()
        except BaseException:
            await self.close()
            raise

    async def read(self, limit: int, wait: timedelta) -> Sequence[Record]:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + wait.total_seconds(), FIRST_PAUSE_S
        while not self._closed:
            if not self._assigned and not await self._begun(until):
                return ()
            if self._loss is not None:
                lost, self._loss = self._loss, None
                raise lost
            if records := self._take(min(limit, A_TURN)):
                return records
            if loop.time() >= until:
                await self._raise_if_away()
                return ()
            await asyncio.sleep(min(pause, max(0.0, until - loop.time())))
            pause = min(2 * pause, LONGEST_PAUSE_S)
        return ()

    async def close(self) -> None:
        self._closed = True
        beginning, self._beginning = self._beginning, None
        if beginning is not None:
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.to_thread(consumer.close)
        self.on_close()

    # Beginning

    async def _begun(self, until: float) -> bool:
        """Wait until it is known where to go on; False when that takes too long. Raises SourceUnavailable, SourceMissing."""
        self._beginning = self._beginning or asyncio.create_task(self._begin(), name=f"finding {self._client.topic}")
        await asyncio.wait((self._beginning,), timeout=max(0.0, until - asyncio.get_running_loop().time()))
        if self._beginning is None or not self._beginning.done():
            return False
        done, self._beginning = self._beginning, None
        done.result()
        return True

    async def _begin(self) -> None:
        low, high = await self._client.watermarks(self._partition)
        found = await self._from(low, high)
        self._verify, self._loss = found.verify, self._loss or found.lost
        if found.lost is not None and found.lost.remade:
            self._resume = Begin(StartingPosition.TRIM_HORIZON)
        self._consumer.assign([self._client.place(self._partition, found.offset)])
        self._assigned, self._away = True, ""

    async def _from(self, low: int, high: int) -> Beginning:
        start = self._resume
        if isinstance(start, After):
            return beginning(start, low, high)
        if self._follows_group and (committed := await self._client.committed(self._partition)) is not None:
            self._not_before = None
            return Beginning(min(max(committed, low), high))
        if start.at is StartingPosition.LATEST:
            # From here on it means this place: what comes while the cluster is away is new as well.
            self._resume = After(high - 1) if high else Begin(StartingPosition.TRIM_HORIZON)
            return Beginning(high)
        if start.at is StartingPosition.AT_TIMESTAMP and start.timestamp is not None:
            found = await self._client.offset_at(self._partition, start.timestamp)
            return Beginning(high if found is None else found)
        return Beginning(low)

    def _begin_anew(self, expected: int) -> None:
        self._loss = PositionLost(expected, None, remade=True)
        self._resume, self._assigned = Begin(StartingPosition.TRIM_HORIZON), False

    # Taking

    def _take(self, limit: int) -> list[Record]:
        now, records = datetime.now(UTC), []
        for message in self._consumer.consume(limit, 0.0):
            if (error := message.error()) is not None:
                self._failed(error)
                break
            self._away = ""
            record = self._records.record(self._partition, message, now)
            if isinstance(self._resume, After) and record.position <= self._resume.position:
                if self._verify is not None and self._verify.identity not in ("", record.identity):
                    self._begin_anew(record.position + 1)
                    break
                continue  # it is the one that was read last
            self._verify = None
            self._resume = After(record.position, record.identity)
            if self._not_before is not None and record.arrived < self._not_before:
                continue
            self._not_before = None
            records.append(record)
        return records

    def _failed(self, error: Any) -> None:
        """Whatever it is, it shows when the place is looked up again."""
        self._assigned, self._away = False, str(error.str())

    def _hear(self, error: Any) -> None:
        """Of the cluster; a single broker that is away is librdkafka's business."""
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._away = str(error.str())

    async def _raise_if_away(self) -> None:
        """Raises SourceUnavailable, SourceMissing."""
        if not self._away:
            return
        away, self._away = self._away, ""
        try:
            async with asyncio.timeout(1):
                await self._client.watermarks(self._partition)
        except TimeoutError:
            self._away = away
            raise SourceUnavailable(f"Kafka at {','.join(self._client.servers)} cannot be read now: {away}") from None
        except BaseException:
            self._away = away
            raise
