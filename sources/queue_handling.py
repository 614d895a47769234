"""What is done with one batch of a queue: invoke, wait where it cannot run now, settle every message.

A batch ends in one of these ways, and only :meth:`BatchHandler.delete` and :meth:`BatchHandler.release` settle:

================================  =====================================================================
the invocation                    the messages
================================  =====================================================================
Answered, Failed, Crashed         as :mod:`sources.queue_settlement` says
Failed, Crashed, in place [1]_    invoked again with backoff, at most for ``LONGEST_HOLD``; then released
Deferred                          held and tried again, at most for the visibility timeout; then released
                                  as if they had not been received
TooLarge                          halves one after the other; a single one is released, or given up [1]_
================================  =====================================================================

.. [1] Where the adapter has ``retries_in_place`` (Amazon MQ).

What goes back of a message group takes all that waits of the group with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sources.errors import CheckpointsUnavailable, ClaimLost, NotAccepted, SourceMissing, SourceUnavailable
from sources.inbox import Inbox, InboxAdapter, Received
from sources.invocation import Answered, BatchCall, Crashed, Deferred, Failed, GivenUp, Result, TooLarge
from sources.mapping import EventSourceMapping, Kind
from sources.queue_batching import Batch
from sources.queue_settlement import reason_of, verdict
from sources.source import Claim, Services

log = logging.getLogger(__name__)

LONGEST_HOLD = timedelta(minutes=10)
"""So long a batch may wait for its invocation: brokers take back what is not settled in 30 minutes, and it may run for 15."""
LONGEST_PAUSE, LONGEST_SOURCE_PAUSE = 60, 10
"""In units of the first pause."""
LINKS = 100
OK, CALL_FAILED = "OK", "PROBLEM: Function call failed"


@dataclass(slots=True)
class Tally:
    """What has happened so far. ``released`` counts every message that went back, ``failed`` invocations that failed."""

    received: int = 0
    filtered: int = 0
    deleted: int = 0
    released: int = 0
    invocations: int = 0
    failed: int = 0
    throttled: int = 0
    expired: int = 0
    given_up: int = 0


@dataclass(slots=True)
class Signs:
    """Why the source, the function or the store does not do its part now; empty when it does. ``silent``: the source is
    connected, and what is there does not come. ``result`` is the LastProcessingResult that is stored."""

    source: str = ""
    silent: bool = False
    function: str = ""
    store: str = ""
    result: str = ""


@dataclass(slots=True)
class Work:
    """A batch that has a slot. ``unsettled`` are those of its messages that are neither deleted nor released."""

    batch: Batch
    unsettled: list[Received]

    def settled(self, messages: Sequence[Received]) -> None:
        self.unsettled = without(self.unsettled, messages)

    def joined_by(self, messages: Sequence[Received]) -> None:
        """They are to be settled with it."""
        self.unsettled.extend(without(messages, self.unsettled))


def without(messages: Sequence[Received], gone: Sequence[Received]) -> list[Received]:
    """Told apart by identity: two messages may be equal."""
    there = set(map(id, gone))
    return [message for message in messages if id(message) not in there]


def pause(first: timedelta, attempt: int, longest: int) -> timedelta:
    """After so many attempts, doubling from ``first`` to ``longest`` times as much.

    >>> [pause(timedelta(seconds=1), attempt, 10).seconds for attempt in (1, 2, 3, 5)]
    [1, 2, 4, 10]
    """
    return min(first * (1 << min(attempt - 1, 10)), first * longest)


class BatchHandler:
    """``heard`` is told each result of an invocation; ``withdraw`` gives what waits of a message group. ``stop`` set: nothing
    is waited for any more. Once the claim is lost nothing is settled.
    """

    def __init__(
        self,
        mapping: EventSourceMapping,
        services: Services,
        adapter: InboxAdapter,
        inbox: Inbox,
        claim: Claim,
        tally: Tally,
        signs: Signs,
        stop: asyncio.Event,
        heard: Callable[[Result], None],
        withdraw: Callable[[str], Sequence[Received]],
    ) -> None:
        self._mapping = mapping
        self._services = services
        self._adapter = adapter
        self._inbox = inbox
        self._claim = claim
        self._tally = tally
        self._signs = signs
        self._stop = stop
        self._heard = heard
        self._withdraw = withdraw
        self._loop = asyncio.get_running_loop()

    async def handle(self, work: Work) -> None:
        """Until every message of it is settled."""
        try:
            await self._handle(work)
        except Exception:
            log.exception("a batch of %s is given back", self._mapping.label)
            await self.release(tuple(work.unsettled), work, failed=True, reason="fnrunner failed on it")
            await self._take_along((), work)

    async def _handle(self, work: Work) -> None:
        parts: deque[tuple[Received, ...]] = deque([work.batch.messages])
        while parts:
            messages = parts.popleft()
            result = await self._outcome(messages, self._hold())
            if isinstance(result, TooLarge) and len(messages) > 1:
                middle = len(messages) // 2
                parts.extendleft((messages[middle:], messages[:middle]))
            elif not await self._conclude(messages, result, work) and work.batch.group:
                await self._take_along([message for part in parts for message in part], work)
                return

    async def _take_along(self, behind: Sequence[Received], work: Work) -> None:
        """Nothing of the group may overtake what went back."""
        if group := work.batch.group:
            several = (*behind, *self._withdraw(group))
            work.joined_by(several)
            await self.release(several, work, failed=False)

    async def _conclude(self, messages: tuple[Received, ...], result: Result, work: Work) -> bool:
        """Settle them. Whether none went back."""
        match result:
            case Deferred():
                await self.release(messages, work, failed=False)
                return False
            case TooLarge():
                return await self._too_large(messages, result, work)
            case Answered():
                await self._note_result(OK)
                decided = verdict(result, messages, report=self._mapping.report_failures and self._adapter.partial)
            case Failed() | Crashed():
                await self._note_result(CALL_FAILED)
                if self._adapter.retries_in_place:
                    return await self._in_place(messages, work)
                decided = verdict(result, messages, report=False)
        await self.delete(decided.deleted, work)
        await self.release(decided.released, work, failed=True, reason=decided.reason)
        return not decided.released

    async def _in_place(self, messages: tuple[Received, ...], work: Work) -> bool:
        """Invoke with the same batch until it succeeds, leaving out what has expired; what takes too long goes back."""
        until, attempt = self._loop.time() + LONGEST_HOLD.total_seconds(), 1
        while True:
            wait = self._pause(attempt, LONGEST_PAUSE)
            if self._loop.time() + wait >= until or await self._stopped(wait):
                await self.release(messages, work, failed=True, reason="the function failed again and again")
                return False
            now = self._services.clock()
            expired = [message for message in messages if message.expires is not None and message.expires <= now]
            messages = tuple(without(messages, expired))
            self._tally.expired += len(expired)
            await self.delete(expired, work)
            if not messages:
                return True
            result = await self._outcome(messages, timedelta(seconds=until - self._loop.time()))
            if not isinstance(result, Failed | Crashed):
                return await self._conclude(messages, result, work)
            attempt += 1

    async def _too_large(self, messages: tuple[Received, ...], result: TooLarge, work: Work) -> bool:
        """One message that no invocation can carry. Several that could be carried before are received, and split, anew."""
        if len(messages) > 1:
            await self.release(messages, work, failed=False)
            return False
        if not self._adapter.retries_in_place:
            reason = f"its event has {result.size_bytes} bytes, more than an invocation takes"
            await self.release(messages, work, failed=True, reason=reason)
            return False
        if await self._give_up(messages[0], work):
            return True
        await self.release(messages, work, failed=False)
        return False

    async def _give_up(self, message: Received, work: Work) -> bool:
        """False: the session ended before it was told."""
        letter = GivenUp(
            mapping=self._mapping,
            shard="",
            condition="InvokePayloadTooLarge",
            payload=message.data,
            first=message.id,
            last=message.id,
            size=1,
            attempts=0,
            at=self._services.clock(),
        )
        attempt = 1
        while True:
            try:
                await self._services.letters.give_up(letter)
                break
            except NotAccepted as error:
                self._signs.function = str(error)
                if await self._stopped(self._pause(attempt, LONGEST_PAUSE)):
                    return False
                attempt += 1
        self._signs.function = ""
        self._tally.given_up += 1
        await self.delete((message,), work)
        return True

    # Invoking

    async def _outcome(self, messages: Sequence[Received], hold: timedelta) -> Result:
        """What the invocation came to. Deferred only when it could not be run within ``hold``, or the session ends."""
        until, attempt = self._loop.time() + hold.total_seconds(), 1
        links = [message.traceparent for message in messages if message.traceparent][:LINKS]
        call = BatchCall(self._mapping, self._inbox.payload(messages), len(messages), links)
        while True:
            result = await self._services.invoker.invoke(call)
            self._heard(result)
            if not isinstance(result, Deferred):
                self._ran(result)
                return result
            self._deferred(result)
            wait = self._pause(attempt, LONGEST_SOURCE_PAUSE)
            if self._loop.time() + wait >= until or await self._stopped(wait):
                return result
            attempt += 1

    def _ran(self, result: Result) -> None:
        if isinstance(result, TooLarge):
            return
        self._signs.function = ""
        self._tally.invocations += 1
        if isinstance(result, Failed | Crashed):
            self._tally.failed += 1
            log.info("%s: %s failed: %s", self._mapping.label, self._mapping.function, reason_of(result))

    def _deferred(self, result: Deferred) -> None:
        if result.throttled:
            self._tally.throttled += 1
        else:
            self._signs.function = f"{self._mapping.function} cannot be invoked now: {result.reason}"

    def _hold(self) -> timedelta:
        """How long a batch may wait for room. Without a visibility timeout there is only the broker's patience."""
        if self._adapter.retries_in_place:
            return LONGEST_HOLD
        return min(max(self._inbox.visibility, self._services.retry_first * 2), LONGEST_HOLD)

    def _pause(self, attempt: int, longest: int) -> float:
        return pause(self._services.retry_first, attempt, longest).total_seconds()

    async def _stopped(self, wait: float) -> bool:
        """Whether the session is to end, waiting so long for that."""
        try:
            async with asyncio.timeout(wait):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    # Settling

    async def delete(self, messages: Sequence[Received], work: Work) -> None:
        """Insist until the source has done it."""
        if messages and self._claim.held:
            await self.insist(lambda: self._inbox.delete(messages))
            self._tally.deleted += len(messages)
            work.settled(messages)

    async def release(self, messages: Sequence[Received], work: Work, *, failed: bool, reason: str = "") -> None:
        """Insist until the source has done it."""
        if messages and self._claim.held:
            await self.insist(lambda: self._inbox.release(messages, failed=failed, reason=reason))
            self._tally.released += len(messages)
            work.settled(messages)

    async def insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """What is neither deleted nor released would stay with us. A source that has gone has its messages no more."""
        attempt = 1
        while self._claim.held:
            try:
                await act()
                return
            except SourceMissing as error:
                self._signs.source = str(error)
                return
            except SourceUnavailable as error:
                self._signs.source = str(error)
                await asyncio.sleep(self._pause(attempt, LONGEST_SOURCE_PAUSE))
                attempt += 1

    async def _note_result(self, result: str) -> None:
        """For LastProcessingResult, which mappings of SQS do not have."""
        if self._mapping.kind is Kind.SQS or self._signs.result == result:
            return
        try:
            await self._claim.save({"result": result})
            self._signs.result, self._signs.store = result, ""
        except CheckpointsUnavailable as error:
            self._signs.store = str(error)
        except ClaimLost:
            self._stop.set()
