"""Read one shard for as long as its claim is held: filter, hand to lanes, store how far they are.

::

    reader ── filter ──► lanes, each: gather ── invoke ── give up ── settle ──► save
       ▲                   │ full                                     │
       └── waits ◄─────────┘                                          └─ ledger: the low position, and each lane's own

A session ends at a step between two invocations when it is told to stop, and at once when the claim is lost. The next one
goes on from what was stored.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import TaskGroup
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sources import giving_up, shard_place
from sources.errors import (
    CheckpointsUnavailable,
    ClaimLost,
    NotAccepted,
    NotSupported,
    PositionLost,
    SourceMissing,
    SourceUnavailable,
)
from sources.filters import FilterCriteria
from sources.lane import Lane
from sources.lanes import Ledger
from sources.mapping import EventSourceMapping, Kind, StartingPosition
from sources.retrying import united
from sources.shard_place import Place
from sources.source import Claim, Services
from sources.stream import After, Begin, Record, ShardReader, Start, Stream, StreamAdapter
from sources.window import Window

log = logging.getLogger(__name__)

READ_WAIT = timedelta(seconds=1)
_WATCH_S = 0.25
_SAVE_EVERY_S = 5.0
_SAVE_PAUSE_S = 0.2
_AWAY_FIRST_S, _AWAY_LONGEST_S = 0.5, 10.0
_LATE = timedelta(seconds=1)
"""How long after a window's end its last records may take to be readable."""

_MOST_READ = 1_000


@dataclass(slots=True)
class Signs:
    """What is to be said of one shard. ``held``: this process works on it; None: not known yet. ``gap_at`` is monotonic."""

    held: bool | None = None
    source: str = ""
    store: str = ""
    lanes: tuple[str, ...] = ()
    behind: timedelta = timedelta(0)
    gap: str = ""
    gap_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What the shards of a mapping have in common. ``mapping`` gives it as it is now."""

    mapping: Callable[[], EventSourceMapping]
    services: Services
    adapter: StreamAdapter
    stream: Stream
    tally: Counter[str]
    now: Callable[[], float]


class ShardSession:
    """See :class:`sources.lane_batch.Shard`, which it is to its lanes. ``place`` says where to begin."""

    def __init__(self, setting: Setting, shard: str, claim: Claim, place: Place, signs: Signs) -> None:
        mapping = setting.mapping()
        self.shard = shard
        self.services = setting.services
        self.stream = setting.stream
        self.claim = claim
        self.info_key = setting.adapter.batch_info
        self.tally = setting.tally
        self.stopping = False
        self.opened = asyncio.Event()
        self.now = setting.now
        self._setting = setting
        self._place = place
        self._signs = signs
        self._factor = mapping.parallelization_factor
        self._ledger = Ledger(self._factor, place.low, place.settled)
        self._lanes = _lanes(self, place, mapping)
        self._filter = (
            FilterCriteria(mapping.filters, setting.adapter.data_key, mapping.kind) if mapping.filters else None
        )
        self._interrupt = asyncio.Event()
        self._room = asyncio.Event()
        self._nothing_since: datetime | None = None
        self._last: Record | None = None
        self._not_before: datetime | None = None
        self._stored: tuple[After | None, float] = (place.low, 0.0)

    @property
    def mapping(self) -> EventSourceMapping:
        return self._setting.mapping()

    def stop(self) -> None:
        """End between two steps. What runs is waited for."""
        self.stopping = True
        self.interrupt()

    def interrupt(self) -> None:
        """Something has changed: whoever waits looks again."""
        self._interrupt.set()
        self._interrupt = asyncio.Event()
        self._room.set()
        for lane in self._lanes:
            lane.wake()

    def place(self) -> Place:
        """As it is to be stored."""
        windows = {number: lane.window for number, lane in enumerate(self._lanes) if lane.window is not None}
        leftover = dict(enumerate(self._lanes[0].leftover, start=self._factor))
        return replace(
            self._place,
            low=self._ledger.low,
            settled=self._ledger.settled,
            factor=self._factor,
            windows=windows | leftover,
            blocks={number: lane.block for number, lane in enumerate(self._lanes) if lane.block is not None},
        )

    async def run(self) -> None:
        """Until it is stopped. Raises an ExceptionGroup with ClaimLost; SourceUnavailable, SourceMissing from opening."""
        reader = await self._open()
        try:
            async with TaskGroup() as tasks:
                lanes = [tasks.create_task(lane.run()) for lane in self._lanes]
                others = [tasks.create_task(self._read(reader)), tasks.create_task(self._watch())]
                await asyncio.wait(lanes)
                for task in others:
                    task.cancel()
        finally:
            await reader.close()
        if self._unstored:
            await self.save()

    # What lanes ask for

    def idle_at(self, moment: datetime) -> bool:
        return self._nothing_since is not None and self._nothing_since >= moment + _LATE

    def taken(self) -> None:
        self._room.set()

    def settle(self, lane: int, position: int) -> None:
        self._ledger.settle(lane, position)

    async def pause(self, seconds: float) -> None:
        interrupt = self._interrupt
        if self.stopping:
            return
        try:
            async with asyncio.timeout(seconds):
                await interrupt.wait()
        except TimeoutError:
            return

    async def save(self, result: str = "", error: str = "") -> None:
        """Store the place as it is. A store that is away is asked again for as long as the claim is held.

        Raises ClaimLost.
        """
        if result:
            now = self.services.clock()
            self._place = replace(self._place, result=result, result_at=now, error=error)
        while True:
            low = self._ledger.low
            try:
                await self.claim.save(shard_place.document(self.place()))
            except CheckpointsUnavailable as failure:
                self._signs.store = str(failure)
                if not self.claim.held:
                    raise ClaimLost from failure
                await asyncio.sleep(_SAVE_PAUSE_S)
            else:
                self._signs.store = ""
                self._stored = (low, self.now())
                return

    @property
    def _unstored(self) -> bool:
        return self._ledger.low != self._stored[0]

    # Reading

    async def _open(self) -> ShardReader:
        """Where the shard begins is stored before anything is read, so that a restart begins there too."""
        start: Start = self._place.low or self._place.start or Begin(StartingPosition.TRIM_HORIZON)
        began = self.services.clock()
        try:
            reader = await self.stream.open(self.shard, start)
        except NotSupported:
            if not isinstance(start, Begin) or start.timestamp is None:
                raise
            # its records have times, so that those before can be passed over
            self._not_before = start.timestamp
            reader = await self.stream.open(self.shard, Begin(StartingPosition.TRIM_HORIZON))
        try:
            if isinstance(start, Begin) and start.at is StartingPosition.LATEST:
                self._place = replace(self._place, start=Begin(StartingPosition.AT_TIMESTAMP, began, exact=False))
            if self._place.began is None or isinstance(start, Begin):
                self._place = replace(self._place, began=self._place.began or began)
                await self.save()
        except BaseException:
            await reader.close()
            raise
        self.opened.set()
        return reader

    async def _read(self, reader: ShardReader) -> None:
        pause = _AWAY_FIRST_S
        while not self.stopping:
            await self._until_room()
            began = self.services.clock()
            try:
                records = await reader.read(min(max(self.mapping.batch_size, 100), _MOST_READ), READ_WAIT)
            except PositionLost as error:
                await self._lost(error)
                continue
            except (SourceUnavailable, SourceMissing) as error:
                self._say_source(str(error))
                await self.pause(pause)
                pause = min(2 * pause, _AWAY_LONGEST_S)
                continue
            self._say_source("")
            pause = _AWAY_FIRST_S
            if not records:
                self._nothing_since = began
                self._last = None
            for record in records:
                self._hand_on(record)
            if len(records) > _MOST_READ // 4:
                await asyncio.sleep(0)

    def _say_source(self, trouble: str) -> None:
        if trouble and trouble != self._signs.source:
            log.warning("%s %s: %s", self.mapping.label, self.shard, trouble)
        self._signs.source = trouble

    def _hand_on(self, record: Record) -> None:
        self._last = record
        self.tally["records"] += 1
        if self._ledger.covers(record) or (self._not_before is not None and record.arrived < self._not_before):
            self._ledger.skip(record)
        elif self._filter is not None and not record.fault and not self._wanted(record):
            self.tally["filtered"] += 1
            self._ledger.skip(record)
        else:
            self._lanes[self._ledger.add(record)].add(record)

    def _wanted(self, record: Record) -> bool:
        assert self._filter is not None
        return self._filter.accepts(_metadata(record.event, self.mapping.kind), record.data)

    async def _until_room(self) -> None:
        while not self.stopping and any(lane.full for lane in self._lanes):
            self._room.clear()
            await self._room.wait()

    async def _lost(self, error: PositionLost) -> None:
        """Say, count, tell and store that records are gone, before the next one is handed on. Raises ClaimLost."""
        if error.remade:
            await self._drained()
            if self.stopping:
                return
        log.error("%s %s: %s", self.mapping.label, self.shard, error)
        self._signs.gap, self._signs.gap_at = str(error), self.now()
        told = giving_up.lost(self.mapping, self.shard, error, self.info_key, self.services.clock())
        wait = self.services.retry_first.total_seconds()
        while not self.stopping:
            try:
                await self.services.letters.give_up(told)
                break
            except NotAccepted as failure:
                self._say_source(f"{error} That cannot be told: {failure}")
                await self.pause(wait)
                wait = min(2 * wait, _AWAY_LONGEST_S)
        if self.stopping:
            return  # the next session hears of it again
        self.tally["gaps"] += 1
        if error.remade:
            self._ledger = Ledger(self._factor)
        self._place = self._place.lost(error, self.services.clock())
        await self.save()

    async def _drained(self) -> None:
        """Positions begin again, so what was read of the old stream is finished first."""
        while self._ledger.unsettled and not self.stopping:
            await self.pause(_WATCH_S)

    async def _watch(self) -> None:
        """Raises ClaimLost as soon as the claim is not held."""
        while True:
            if not self.claim.held:
                raise ClaimLost
            if self.claim.wanted_elsewhere and not self.stopping:
                log.info("%s %s goes to another process", self.mapping.label, self.shard)
                self.stop()
            self._signs.lanes = tuple(lane.trouble for lane in self._lanes if lane.trouble)
            self._signs.behind = self._behind()
            if self._unstored and self.now() - self._stored[1] >= _SAVE_EVERY_S:
                await self.save()
            await asyncio.sleep(_WATCH_S)

    def _behind(self) -> timedelta:
        """How old the first record is that is not done with."""
        waiting = [lane.oldest.arrived for lane in self._lanes if lane.oldest is not None]
        if not waiting and self._last is not None:
            waiting = [self._last.arrived]
        return max(self.services.clock() - min(waiting), timedelta(0)) if waiting else timedelta(0)


def _metadata(event: Mapping[str, Any], kind: Kind) -> Mapping[str, Any]:
    """A filter sees what Kinesis says of a record at the top."""
    if kind is not Kind.KINESIS or not isinstance(inner := event.get("kinesis"), Mapping):
        return event
    return {**event, **inner}


def _lanes(session: ShardSession, place: Place, mapping: EventSourceMapping) -> list[Lane]:
    """With what was stored of them; windows that no lane goes on with are left over."""
    factor = mapping.parallelization_factor
    same = place.factor == factor
    going_on = {n: w for n, w in place.windows.items() if same and n < factor and mapping.tumbling_window}
    leftover: list[Window] = [w for n, w in sorted(place.windows.items()) if n not in going_on]
    blocks = place.blocks if same else dict.fromkeys(range(factor), united(list(place.blocks.values())))
    return [
        Lane(n, session, window=going_on.get(n), block=blocks.get(n), leftover=() if n else leftover)
        for n in range(factor)
    ]
