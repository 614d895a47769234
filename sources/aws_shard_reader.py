"""Reads one shard at an AWS-compatible endpoint: iterators, which expire, and polling, which must not be too frequent.

A call that is under way goes on when a read is over or cancelled, and what it brings is kept for the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from sources.aws_client import Busy, IteratorExpired, PositionTrimmed, PositionUnknown
from sources.errors import NotSupported, PositionLost, SourcesError, SourceUnavailable
from sources.mapping import StartingPosition
from sources.shard_lineage import Shard
from sources.stream import After, Begin, Record, Start

FIRST_PAGE, LARGEST_PAGE = 10, 10_000
PAGE_BYTES = 6 << 20
"""About so much is asked for at once. Calls must be few, and not every service limits what it answers."""

BUSY_PAUSE_S, IDLE_PAUSE_S, LONGEST_PAUSE_S = 0.2, 0.5, 5.0
SLOW_S = 3.0
"""A call that takes longer than this means that the service is away."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one call gives. ``next`` is the next iterator; None: this was the end of the shard. ``newest``: there are no
    younger records."""

    records: Sequence[Mapping[str, Any]]
    next: str | None
    newest: bool = False


class ShardApi(Protocol):
    """What differs between the services. Its methods raise as :meth:`sources.aws_client.AwsClient.call`."""

    async def shards(self) -> Sequence[Shard]: ...

    async def iterator(self, shard: str, start: Start, *, at: int | None = None) -> str:
        """``at``: beginning with the record at that position, instead of ``start``."""

    async def records(self, iterator: str, limit: int) -> Page: ...

    def record(self, shard: str, raw: Mapping[str, Any]) -> Record: ...


class AwsShardReader:
    """See :class:`sources.stream.ShardReader`."""

    def __init__(self, api: ShardApi, shard: str, start: Start) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self._api = api
        self._shard = shard
        self._resume = start
        self._iterator: str | None = None
        self._held: deque[Record] = deque()
        self._not_before = start.timestamp if isinstance(start, Begin) else None
        self._loss: PositionLost | None = None
        self._trimmed: int | None = None
        self._opened = self._ended = False
        self._fetching: asyncio.Task[None] | None = None
        self._next_s = 0.0
        self._slow_s = 0.0
        self._page = FIRST_PAGE
        self._pause_s = BUSY_PAUSE_S
        self._closing = asyncio.Event()

    async def open(self) -> None:
        """Raises SourceUnavailable, SourceMissing, NotSupported."""
        try:
            self._iterator = await self._get_iterator()
        except Busy as error:
            raise SourceUnavailable(str(error)) from error
        self._opened = True
        if isinstance(self._resume, Begin) and self._resume.at is StartingPosition.LATEST:
            # When its iterator expires, what came since is new as well.
            self._resume = Begin(StartingPosition.AT_TIMESTAMP, datetime.now(UTC))

    async def read(self, limit: int, wait: timedelta) -> Sequence[Record]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        while not self._closing.is_set():
            if self._loss is not None:
                lost, self._loss = self._loss, None
                raise lost
            if self._held:
                return [self._held.popleft() for _ in range(min(limit, len(self._held)))]
            ready = until if self._ended else self._next_s
            if self._fetching is None and ready > loop.time():
                await self._sleep(min(ready, until) - loop.time())
                if loop.time() >= until:
                    return ()
                continue
            if not await self._fetched(until):
                return ()
        return ()

    async def close(self) -> None:
        self._closing.set()
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        self.on_close()

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _fetched(self, until: float) -> bool:
        """Wait for a call, one that is under way or a new one; False when that takes too long. Raises its errors."""
        loop = asyncio.get_running_loop()
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name=f"reading {self._shard}")
            self._slow_s = loop.time() + SLOW_S
        fetching = self._fetching
        await asyncio.wait((fetching,), timeout=max(0.0, until - loop.time()))
        if not fetching.done():
            if loop.time() >= self._slow_s:
                raise SourceUnavailable(f"{self._shard} cannot be read: the service has not answered for a while")
            return False
        if self._fetching is fetching:
            self._fetching = None
        if not fetching.cancelled():
            fetching.result()
        return True

    async def _fetch(self) -> None:
        """The next records into what is held, and when to ask again."""
        pause = min(2 * self._pause_s, LONGEST_PAUSE_S)
        try:
            self._iterator = self._iterator or await self._get_iterator()
            page = await self._api.records(self._iterator, self._page)
            self._iterator = page.next
            self._ended = page.next is None
            records = [self._api.record(self._shard, each) for each in page.records]
            self._hold(records)
            if records:
                self._page = page_of(records)
            pause = BUSY_PAUSE_S if records else IDLE_PAUSE_S
        except IteratorExpired:
            self._iterator, pause = None, 0.0
        except Busy:
            pass  # asked again, later each time
        except SourcesError:
            self._iterator = None
            raise
        finally:
            self._pause_s = max(pause, BUSY_PAUSE_S)
            self._next_s = asyncio.get_running_loop().time() + pause

    def _hold(self, records: Sequence[Record]) -> None:
        for record in records:
            self._resume = After(record.position, record.identity)
            if self._not_before is not None and record.arrived < self._not_before:
                continue
            self._not_before = None
            if self._trimmed is not None:
                self._loss, self._trimmed = PositionLost(self._trimmed, record.position), None
            self._held.append(record)

    async def _get_iterator(self) -> str:
        """For where reading is to go on, or for the oldest record where that is gone."""
        resume = self._resume
        try:
            return await self._api.iterator(self._shard, resume)
        except NotSupported:
            if not self._opened or not isinstance(resume, Begin) or resume.timestamp is None:
                raise
            # All there is, without what came before, whose time may have whole seconds.
            self._not_before = resume.timestamp.replace(microsecond=0)
        except PositionTrimmed:
            if isinstance(resume, After):
                self._trimmed = resume.position + 1
        except PositionUnknown as error:
            if not isinstance(resume, After):
                raise SourceUnavailable(str(error)) from error
            if not resume.identity and (iterator := await self._at(resume.position + 1)) is not None:
                return iterator
            self._loss = PositionLost(resume.position + 1, None, remade=True)
        self._resume = Begin(StartingPosition.TRIM_HORIZON)
        return await self._api.iterator(self._shard, self._resume)

    async def _at(self, position: int) -> str | None:
        """None where there is no record at the position. A user may have named the one to go on with."""
        try:
            return await self._api.iterator(self._shard, self._resume, at=position)
        except PositionUnknown:
            return None


def page_of(records: Sequence[Record]) -> int:
    """How many to ask for, when the next records are as large as these."""
    largest = max(len(record.data or b"") for record in records) + 1
    return max(1, min(LARGEST_PAGE, PAGE_BYTES // largest))
