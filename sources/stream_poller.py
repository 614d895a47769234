"""The poller of an ordered stream's mapping: finds the shards, and has a worker for each.

::

    StreamPoller ── shards, again and again ──► ShardWorker ── owns ──► ShardSession ──► lanes ──► batches
      health, reconfigure        claim, rewind, start      reader, ledger, save    order, retries

What is stored of each shard is in :mod:`sources.shard_place`. Over all processes a shard has one owner at a time, and the
claim's fence keeps a former one from storing anything (:mod:`sources.claims`).

What happens when each part dies
    The function fails: its lane stands still as the mapping says. The source is away: reading goes on when it is back. The
    store is away: what runs ends, the claim runs out, and the last batch is done again by the next owner. The process dies:
    another one goes on from what was stored, within seconds.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Event, Task
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Any

from sources import shard_place
from sources.errors import CheckpointsUnavailable, Misconfigured, SourcesError
from sources.mapping import EPOCH, EventSourceMapping
from sources.shard_place import Wish
from sources.shard_session import Setting, Signs
from sources.shard_worker import ShardWorker
from sources.source import Condition, Health, Services
from sources.stream import Stream, StreamAdapter

log = logging.getLogger(__name__)

COUNTERS = ("records", "filtered", "invocations", "failed", "skipped", "throttled", "gaps")
"""Records read and passed over by filters; invocations, and those that failed; records given up; invocations that were
throttled; losses of records before they were read."""

LOOK_EVERY = timedelta(seconds=1)
LIST_EVERY = timedelta(seconds=10)
STARTING = timedelta(seconds=10)
CLOSING = timedelta(seconds=10)
_GAP_IS_NEWS_S = 3600


class StreamPoller:
    """See :class:`sources.source.Source`. Its configuration is the mapping; its counters are :data:`COUNTERS`."""

    def __init__(
        self,
        mapping: EventSourceMapping,
        services: Services,
        adapter: StreamAdapter,
        *,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._mapping = mapping
        self._services = services
        self._adapter = adapter
        self._now = now
        self._tally: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self._condition = Condition.STARTING
        self._trouble = ""
        self._workers: dict[str, tuple[ShardWorker, Task[None]]] = {}
        self._wish: Wish | None = None
        self._changed = Event()
        self._settled = Event()
        self._closing = False
        self._task: Task[None] | None = None

    @property
    def name(self) -> str:
        return f"esm:{self._mapping.uuid}"

    async def start(self) -> None:
        """Returns when every shard is read, or :meth:`health` says why one is not yet."""
        if self._task is None and not self._closing:
            self._task = asyncio.create_task(self._run(), name=f"poll {self._mapping.label}")
        try:
            async with asyncio.timeout(STARTING.total_seconds()):
                await self._settled.wait()
                await asyncio.gather(*(worker.settled.wait() for worker, _ in self._workers.values()))
        except TimeoutError:
            log.warning("%s takes long to start", self._mapping.label)

    async def close(self) -> None:
        """What runs may end and is stored, within a bounded time; what takes longer is done again by the next owner.
        Idempotent.
        """
        self._closing = True
        self._changed.set()
        for worker, _ in self._workers.values():
            worker.stop()
        if (task := self._task) is not None:
            _, late = await asyncio.wait([task], timeout=CLOSING.total_seconds())
            if late:
                task.cancel()
                await asyncio.wait([task])
            self._task = None
        self._condition, self._trouble = Condition.CLOSED, ""
        self._settled.set()

    async def reconfigure(self, configuration: EventSourceMapping) -> None:
        """Between two invocations. Raises Misconfigured for another mapping, or another source."""
        known, given = self._mapping, configuration
        if (known.uuid, _source(known)) != (given.uuid, _source(given)):
            raise Misconfigured(f"{known.uuid} cannot become a mapping of another source: create a new one")
        self._mapping = given
        if _essence(known) == _essence(given):
            return
        if _working(known) != _working(given) or known.access != given.access:
            self._changed.set()
            for worker, _ in self._workers.values():
                worker.stop()
            return
        for worker, _ in self._workers.values():
            worker.interrupt() if _reading(known) == _reading(given) else worker.restart()

    def health(self) -> Health:
        counters = dict(self._tally)
        if self._condition is not Condition.WATCHING:
            return Health(self._condition, (self._trouble,) if self._trouble else (), counters)
        condition, reasons = _judge(
            [(shard, worker.signs) for shard, (worker, _) in self._workers.items()], self._now(), self._services.lag
        )
        if self._trouble:
            condition, reasons = Condition.OUTAGE, (self._trouble, *reasons)
        return Health(condition, reasons, counters)

    # Running

    async def _run(self) -> None:
        """The loop top: whatever goes wrong, it is tried again."""
        while not self._closing:
            self._changed.clear()
            if not _working(self._mapping):
                self._say(Condition.IDLE)
                await self._changed.wait()
                continue
            try:
                await self._poll()
            except SourcesError as error:
                self._say(Condition.OUTAGE, str(error))
            except Exception as error:
                log.exception("the poller of %s failed; it begins again", self._mapping.label)
                self._say(Condition.OUTAGE, f"it failed and begins again: {error or type(error).__name__}")
            else:
                continue
            await self._sleep(LIST_EVERY)

    async def _poll(self) -> None:
        """Until the mapping no longer is to be polled as it is. Raises SourcesError when the stream cannot be opened."""
        stream = self._adapter.open(self._mapping, self._services)
        try:
            await stream.start()
            listed: float | None = None
            while not self._changed.is_set():
                await self._look_for_wish()
                if listed is None or self._now() - listed >= LIST_EVERY.total_seconds():
                    listed = self._now() if await self._list(stream) else None
                for worker, _ in self._workers.values():
                    worker.look()
                await self._sleep(LOOK_EVERY)
        finally:
            try:
                await self._end_workers()
            finally:
                await stream.close()

    async def _list(self, stream: Stream) -> bool:
        """Begin with new shards, end with those that are gone. False when the source does not say."""
        try:
            shards = await stream.shards()
        except SourcesError as error:
            self._say(Condition.WATCHING if self._workers else Condition.OUTAGE, str(error))
            return False
        for gone in self._workers.keys() - set(shards):
            self._workers[gone][0].stop()
        for shard in [shard for shard, (_, task) in self._workers.items() if task.done()]:
            del self._workers[shard]
        for shard in shards:
            if shard not in self._workers:
                self._begin(stream, shard)
        self._say(Condition.WATCHING)
        return True

    def _begin(self, stream: Stream, shard: str) -> None:
        setting = Setting(lambda: self._mapping, self._services, self._adapter, stream, self._tally, self._now)
        worker = ShardWorker(setting, shard, lambda: self._wish, lambda: tuple(self._workers))
        task = asyncio.create_task(worker.run(), name=f"{self._mapping.label} {shard}")
        self._workers[shard] = (worker, task)

    async def _end_workers(self) -> None:
        """What runs ends first. When this is cancelled, it ends at once."""
        tasks = [task for _, task in self._workers.values()]
        try:
            for worker, _ in self._workers.values():
                worker.stop()
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            self._workers.clear()

    async def _look_for_wish(self) -> None:
        with suppress(CheckpointsUnavailable):  # it is looked for again in a second
            self._wish = shard_place.wish(await self._services.claims.load(f"esm-rewind:{self._mapping.uuid}"))

    def _say(self, condition: Condition, trouble: str = "") -> None:
        if (condition, trouble) != (self._condition, self._trouble):
            level = logging.WARNING if trouble else logging.INFO
            log.log(level, "%s: %s%s", self._mapping.label, condition.value, trouble and f": {trouble}")
        self._condition, self._trouble = condition, trouble
        self._settled.set()

    async def _sleep(self, pause: timedelta) -> None:
        """Or until something has changed."""
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._changed.wait()
        except TimeoutError:
            return


def _judge(shards: Sequence[tuple[str, Signs]], now: float, lag: timedelta) -> tuple[Condition, tuple[str, ...]]:
    """What is to be said of all shards together."""
    away = [f"{shard}: {text}" for shard, signs in shards for text in (signs.source, signs.store) if text]
    slow = [f"{shard}: {text}" for shard, signs in shards for text in signs.lanes]
    slow += [
        f"{shard} is {_rounded(signs.behind)} behind. Raise ParallelizationFactor or BatchSize, or speed the function up"
        for shard, signs in shards
        if signs.behind >= lag and not signs.lanes
    ]
    gaps = [f"{shard}: {signs.gap}" for shard, signs in shards if signs.gap and now - signs.gap_at < _GAP_IS_NEWS_S]
    reasons = tuple(_once([*away, *slow, *gaps]))
    if away:
        return Condition.OUTAGE, reasons
    if slow:
        return Condition.LAGGING, reasons
    if gaps:
        return Condition.DEGRADED, reasons
    if shards and not any(signs.held for _, signs in shards) and any(signs.held is False for _, signs in shards):
        return Condition.WAITING, ("another process works on its shards",)
    return Condition.WATCHING, ()


def _once(texts: Iterable[str]) -> Iterator[str]:
    return iter(dict.fromkeys(texts))


def _rounded(span: timedelta) -> str:
    return str(timedelta(seconds=int(span.total_seconds())))


def _source(mapping: EventSourceMapping) -> Any:
    return (mapping.source_arn, mapping.topic, mapping.queue, mapping.bootstrap_servers)


def _working(mapping: EventSourceMapping) -> bool:
    return mapping.enabled and not mapping.deleting


def _reading(mapping: EventSourceMapping) -> Any:
    """What a session cannot change while it runs."""
    return (mapping.filters, mapping.parallelization_factor, mapping.tumbling_window)


def _essence(mapping: EventSourceMapping) -> EventSourceMapping:
    """Without what changes nothing for a poller."""
    return replace(mapping, revision=0, last_modified=EPOCH, created=EPOCH)
