"""One lane of a shard: gather a batch, have it run, wait, split or give up as :mod:`sources.retrying` says, store, go on.

The order is what makes it safe. What is given up is told before it is settled, and what is settled is stored before the next
thing is begun: a crash in between does the last thing again, and leaves nothing out. Before each invocation the claim is
looked at, so that a process that lost it starts nothing more.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence

from sources import window as windows
from sources.batching import LIMIT_BYTES, Limits, Waiting, complete, due, weight
from sources.errors import ClaimLost, NotAccepted
from sources.invocation import Deferred
from sources.lane_batch import LaneBatch, Shard, Stopped, words
from sources.partial import FailedFrom
from sources.retrying import (
    Advance,
    Block,
    Done,
    GiveUp,
    Invoke,
    Outcome,
    Policy,
    Stack,
    Wait,
    begin,
    blocked,
    step,
    unblocked,
)
from sources.shard_place import FAILED, NOT_RUN, OK
from sources.stream import Record
from sources.window import Window

_READ_AHEAD = 10
"""Batches that wait in one of several lanes before the shard waits; with one lane, the next is enough."""

_READ_AHEAD_BYTES = 2 * LIMIT_BYTES
_WINDOW_LOOK_S = 0.5
_LONGEST_TELLING = 60
"""Times the first wait, between tries to tell of what is given up."""


class Lane:
    """``leftover``: windows that nobody adds to any more, to be ended first."""

    def __init__(
        self,
        number: int,
        shard: Shard,
        *,
        window: Window | None = None,
        block: Block | None = None,
        leftover: Sequence[Window] = (),
    ) -> None:
        self.window = window
        self.block = block
        self.leftover = list(leftover)
        self.trouble = ""
        self._number = number
        self._shard = shard
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._working: Record | None = None

    @property
    def oldest(self) -> Record | None:
        """The first record that is not done with."""
        return self._working or (self._waiting[0].record if self._waiting else None)

    @property
    def full(self) -> bool:
        mapping = self._shard.mapping
        ahead = _READ_AHEAD if mapping.parallelization_factor > 1 else 1
        return len(self._waiting) >= ahead * mapping.batch_size or self._bytes >= _READ_AHEAD_BYTES

    def add(self, record: Record) -> None:
        each = Waiting(record, weight(record), self._shard.now())
        self._waiting.append(each)
        self._bytes += each.weight
        self._news.set()

    def wake(self) -> None:
        """Something has changed."""
        self._news.set()

    async def run(self) -> None:
        """Until the shard is stopping, and then to the end of what runs. Raises ClaimLost."""
        try:
            while self.leftover:
                await self._finish(self.leftover[0])
            while not self._shard.stopping:
                self._news.clear()
                if (window := self._over()) is not None:
                    await self._finish(window)
                elif records := self._take():
                    await self._work(LaneBatch(self._shard, records, self.window))
                else:
                    await self._wait_for_news()
        except Stopped:
            return

    # Gathering

    def _over(self) -> Window | None:
        """The window, when it is to be ended now."""
        if (window := self.window) is None or window.oversized:
            return window
        if self._waiting:
            return window if self._waiting[0].record.arrived >= window.end else None
        return window if self._shard.idle_at(window.end) else None

    def _take(self) -> tuple[Record, ...]:
        """The next batch; nothing when it is not complete yet."""
        if not self._waiting:
            return ()
        size = self._shard.mapping.tumbling_window
        if size and self.window is None:
            self.window = windows.window_at(self._waiting[0].record.arrived, size)
        before = self.window.end if self.window else None
        count = complete(self._waiting, self._limits(), self._shard.now(), before)
        taken = [self._waiting.popleft() for _ in range(count)]
        self._bytes -= sum(each.weight for each in taken)
        if taken:
            self._shard.taken()
        return tuple(each.record for each in taken)

    async def _wait_for_news(self) -> None:
        until = due(self._waiting, self._limits()) if self._waiting else None
        seconds = None if until is None else max(0.0, until - self._shard.now())
        if self.window is not None:
            seconds = min(_WINDOW_LOOK_S, seconds if seconds is not None else _WINDOW_LOOK_S)
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    def _limits(self) -> Limits:
        return Limits.of(self._shard.mapping, self.window.size_bytes if self.window else 0)

    # Working

    async def _finish(self, window: Window) -> None:
        """Invoke with the window's state and no records, by the same rules as with a record."""
        end = Record(-1, "", window.end, {}, None)
        await self._work(LaneBatch(self._shard, (end,), window, final=True))

    async def _work(self, batch: LaneBatch) -> None:
        """Raises Stopped, ClaimLost."""
        clock = self._shard.services.clock
        stack = begin(batch.records, self._policy(), self.block, clock())
        outcome: Outcome | None = None
        try:
            while stack:
                self._working = stack[0].records[0]
                stack, action = step(stack, self._policy(), outcome, clock())
                last, outcome = outcome, None
                match action:
                    case Invoke(records):
                        outcome = await batch.invoke(records)
                    case Wait(duration):
                        await self._held_up(batch, stack, duration.total_seconds())
                    case Advance(position):
                        await self._advance(batch, stack, position, last)
                    case GiveUp():
                        await self._give_up(batch, stack, action)
                    case Done():
                        return
        finally:
            self._working = None
            self.trouble = ""

    def _policy(self) -> Policy:
        return Policy.of(self._shard.mapping, self._shard.services.retry_first)

    async def _advance(self, batch: LaneBatch, stack: Stack, position: int, outcome: Outcome | None) -> None:
        partly = isinstance(outcome, FailedFrom)
        self._settle(batch, stack, position, passed=True)
        await self._shard.save(FAILED if partly else OK, words(outcome) if partly else "")
        if stack and (window := batch.window) is not None and window.oversized:
            # what is left of the batch would not fit beside such a state
            await self._finish(window)
            self.window = batch.window = Window(window.start, window.end)

    async def _give_up(self, batch: LaneBatch, stack: Stack, action: GiveUp) -> None:
        """Told, then settled, then stored. Raises Stopped, ClaimLost."""
        told = batch.told(action)
        first = wait = self._shard.services.retry_first.total_seconds()
        while True:
            if not self._shard.claim.held:
                raise ClaimLost
            try:
                await self._shard.services.letters.give_up(told)
                break
            except NotAccepted as error:
                self.trouble = f"what is given up cannot be told of: {error}. Start the broker, or see what blocks it"
            await self._block(batch, FAILED, self.trouble)
            await self._pause(wait)
            wait = min(2 * wait, first * _LONGEST_TELLING)
        batch.given_up(action)
        self._shard.tally["skipped"] += told.size
        self._settle(batch, stack, action.position, passed=False)
        await self._shard.save(FAILED, f"{action.condition}: {words(action.piece.error)}")

    def _settle(self, batch: LaneBatch, stack: Stack, position: int, *, passed: bool) -> None:
        if not stack:
            self.block = unblocked(self.block, self._shard.services.clock())
        batch.settled(passed=passed)
        if not batch.final:
            self.window = batch.window
            self._shard.settle(self._number, position)
        elif self.leftover and batch.window is self.leftover[0]:
            del self.leftover[0]
        else:
            self.window = None

    async def _held_up(self, batch: LaneBatch, stack: Stack, seconds: float) -> None:
        """Say that the shard stands still, once, and wait; less when something has changed."""
        self.trouble = batch.explained(stack)
        await self._block(batch, NOT_RUN if isinstance(batch.failure, Deferred) else FAILED, self.trouble)
        await self._pause(seconds)

    async def _block(self, batch: LaneBatch, result: str, error: str) -> None:
        block = blocked(self.block, batch.records[0], self._shard.services.clock())
        if block != self.block:
            self.block = block
            await self._shard.save(result, error)

    async def _pause(self, seconds: float) -> None:
        """Spread by chance, so that shards do not ask together. Raises Stopped."""
        await self._shard.pause(seconds * random.uniform(0.5, 1.0))  # noqa: S311 - guards nothing
        if self._shard.stopping:
            raise Stopped
