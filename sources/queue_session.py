"""One owner of a queue's mapping at work: receive, filter, batch, and hand each batch to a slot.

::

    receive ──► filter ──► Batches ──► a slot ──► BatchHandler: invoke, delete, release
       ▲           └ delete   │        Ramp
       └────── room ──────────┘

The inbox is asked for as many messages as could start now, so nothing is held that cannot. A batch keeps its slot until its
messages are settled. Whatever stops a session: what waits goes back at once, what runs may end within ``DRAIN``, and the
rest goes back then. When the claim is lost nothing is settled any more, since another process may be at it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from json import dumps

from broker.envelope import SYNC_LIMIT_BYTES
from sources.errors import SourceMissing, SourceSilent, SourceUnavailable
from sources.filters import FilterCriteria
from sources.inbox import Inbox, InboxAdapter, Received
from sources.invocation import Deferred, Result
from sources.mapping import EventSourceMapping
from sources.queue_batching import Batches
from sources.queue_concurrency import Ramp
from sources.queue_handling import LONGEST_SOURCE_PAUSE, BatchHandler, Signs, Tally, Work, pause
from sources.source import Claim, Services

log = logging.getLogger(__name__)

POLL = timedelta(seconds=20)
DRAIN = timedelta(seconds=20)
RETURN = timedelta(seconds=5)
MOST_WAITING = 1000
"""So many messages may wait here, behind others of their group or for a batch to be complete, besides what fills a batch."""
SURPLUS_S = 0.5
"""So long all slots must be taken before the inbox is told that nothing is wanted: short functions cause no changes."""


class QueueSession:
    """``stop`` set: end in order. ``run`` returns when everything is settled or given back; the inbox is closed then."""

    def __init__(
        self,
        mapping: EventSourceMapping,
        services: Services,
        adapter: InboxAdapter,
        claim: Claim,
        tally: Tally,
        signs: Signs,
        stop: asyncio.Event,
    ) -> None:
        """Raises Misconfigured, InvalidPattern."""
        self._mapping = mapping
        self._services = services
        self._claim = claim
        self._tally = tally
        self._signs = signs
        self._stop = stop
        self._criteria = FilterCriteria(mapping.filters, adapter.data_key, mapping.kind)
        self._inbox: Inbox = adapter.open(mapping, services)
        self._batches = Batches(mapping.batch_size, mapping.batching_window.total_seconds(), SYNC_LIMIT_BYTES)
        self._loop = asyncio.get_running_loop()
        self._ramp = _ramp(mapping, adapter, self._loop.time())
        self._running: dict[asyncio.Task[None], Work] = {}
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._handler = BatchHandler(
            mapping, services, adapter, self._inbox, claim, tally, signs, stop, self._heard, self._batches.withdraw
        )

    @property
    def inbox(self) -> Inbox:
        return self._inbox

    async def run(self) -> None:
        receiving: asyncio.Task[None] | None = None
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await self._inbox.start()
            receiving = asyncio.create_task(self._receive(), name=f"receive {self._mapping.label}")
            await asyncio.wait({receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await self._end(receiving)
        if not receiving.cancelled():
            receiving.result()

    async def _end(self, receiving: asyncio.Task[None] | None) -> None:
        """Intake first, then what waits, then what runs, then the inbox with whatever is left."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        try:
            if receiving is not None:
                receiving.cancel()
                await asyncio.wait({receiving})
            if self._claim.held:
                await self._return(self._batches.drain())
                if self._running:
                    await asyncio.wait(self._running, timeout=DRAIN.total_seconds())
            running = dict(self._running)
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            if self._claim.held:
                await self._return([message for work in running.values() for message in work.unsettled])
        finally:
            await self._inbox.close()

    async def _return(self, messages: Sequence[Received]) -> None:
        if not messages:
            return
        try:
            async with asyncio.timeout(RETURN.total_seconds()):
                await self._inbox.release(messages, failed=False)
            self._tally.released += len(messages)
        except (SourceUnavailable, SourceMissing, TimeoutError):
            log.info("%s: what was not handled goes back with the connection", self._mapping.label)

    # Receiving

    async def _receive(self) -> None:
        failures = 0
        while True:
            room = await self._room()
            try:
                found = await self._inbox.receive(room, self._patience())
            except (SourceUnavailable, SourceMissing) as error:
                self._signs.source, self._signs.silent = str(error), isinstance(error, SourceSilent)
                failures += 1
                await asyncio.sleep(pause(self._services.retry_first, failures, LONGEST_SOURCE_PAUSE).total_seconds())
                continue
            self._signs.source, self._signs.silent, failures = "", False, 0
            await self._take_in(found)
            self._dispatch()

    async def _room(self) -> int:
        """How many messages could start now, waiting until it is at least one."""
        told = False
        while True:
            self._news.clear()
            self._ramp = self._ramp.seen(len(self._running), self._loop.time())
            slots = self._ramp.allowed - len(self._running)
            most = MOST_WAITING + self._mapping.batch_size
            if slots > 0 and (room := self._batches.room(slots, most)) > 0:
                return room
            self._dispatch()
            try:
                async with asyncio.timeout(SURPLUS_S):
                    await self._news.wait()
            except TimeoutError:
                told = told or await self._want_nothing()

    async def _want_nothing(self) -> bool:
        try:
            await self._inbox.receive(0, timedelta(0))
        except (SourceUnavailable, SourceMissing) as error:
            self._signs.source = str(error)
        return True

    def _patience(self) -> timedelta:
        due = self._batches.due()
        return POLL if due is None else min(POLL, timedelta(seconds=max(0.0, due - self._loop.time())))

    async def _take_in(self, found: Sequence[Received]) -> None:
        now, unwanted = self._loop.time(), []
        for message in found:
            if self._criteria.accepts(message.event, message.data):
                weight = len(dumps(message.event, separators=(",", ":"))) + 1
                self._batches.add(message, weight, now)
            else:
                unwanted.append(message)
        self._tally.received += len(found)
        if unwanted:
            await self._handler.insist(lambda: self._inbox.delete(unwanted))
            self._tally.filtered += len(unwanted)

    # Slots

    def _dispatch(self) -> None:
        """Start what can start; look again when the next batch is complete."""
        if self._stop.is_set():
            return
        now = self._loop.time()
        while self._ramp.allowed > len(self._running) and (batch := self._batches.take(now)) is not None:
            work = Work(batch, list(batch.messages))
            task = asyncio.create_task(self._work(work), name=f"batch of {self._mapping.label}")
            self._running[task] = work
            task.add_done_callback(self._ended)
            self._ramp = self._ramp.seen(len(self._running), now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._batches.due()
        if due is not None and self._ramp.allowed > len(self._running):
            self._timer = self._loop.call_at(due, self._dispatch)

    async def _work(self, work: Work) -> None:
        try:
            await self._handler.handle(work)
        finally:
            self._batches.done(work.batch.group)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._ramp = self._ramp.seen(len(self._running), self._loop.time())
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a batch of %s ended in an unexpected way", self._mapping.label, exc_info=error)
        self._news.set()
        self._dispatch()

    def _heard(self, result: Result) -> None:
        busy, now = len(self._running), self._loop.time()
        if not isinstance(result, Deferred):
            self._ramp = self._ramp.ran()
        elif result.throttled:
            self._ramp = self._ramp.throttled(busy, now)
        else:
            self._ramp = self._ramp.halted(busy, now)


def _ramp(mapping: EventSourceMapping, adapter: InboxAdapter, now: float) -> Ramp:
    highest = adapter.highest_concurrency
    if mapping.maximum_concurrency is not None:
        highest = min(highest, mapping.maximum_concurrency)
    return Ramp.starting(adapter.initial_concurrency, highest, now)
