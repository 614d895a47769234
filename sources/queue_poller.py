"""The poller of a queue's mapping: who works on it, and how that goes. The work itself is :mod:`sources.queue_session`.

Over all processes one owns the mapping, through the claim ``esm:UUID:queue``, so that its concurrency and the order of its
message groups are exact. The others wait for the claim; when the owner dies they have it in seconds, and the source gives
them what it had in hand.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, replace
from datetime import timedelta

from sources.errors import CheckpointsUnavailable, Misconfigured, SourcesError
from sources.inbox import InboxAdapter
from sources.mapping import EPOCH, EventSourceMapping
from sources.queue_handling import Signs, Tally
from sources.queue_session import QueueSession
from sources.source import Claim, Condition, Health, Services

log = logging.getLogger(__name__)

ASK_EVERY = timedelta(seconds=1)
WATCH_EVERY = timedelta(seconds=0.25)
BROKEN_PAUSE = timedelta(seconds=5)


class QueuePoller:
    """See :class:`sources.source.Source`. Its configuration is the mapping.

    Counters: received, filtered, deleted, released (messages); invocations, failed, throttled (invocations); expired and
    given_up (messages, Amazon MQ only).
    """

    def __init__(self, mapping: EventSourceMapping, services: Services, adapter: InboxAdapter) -> None:
        self._mapping = mapping
        self._services = services
        self._adapter = adapter
        self._tally = Tally()
        self._signs = Signs()
        self._condition = Condition.STARTING
        self._fault = ""
        self._session: QueueSession | None = None
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return f"esm:{self._mapping.uuid}"

    async def start(self) -> None:
        if self._task is None and not self._closing:
            self._task = asyncio.create_task(self._run(), name=f"poll {self._mapping.label}")

    async def close(self) -> None:
        """What runs may end within a bounded time; the rest goes back. Idempotent."""
        self._closing = True
        self._wake()
        if self._task is not None:
            await asyncio.wait({self._task})
        self._condition = Condition.CLOSED

    async def reconfigure(self, configuration: EventSourceMapping) -> None:
        """What runs ends as it began. Raises Misconfigured for another mapping, or another source."""
        known, given = self._mapping, configuration
        if (given.uuid, given.source_arn, given.queue) != (known.uuid, known.source_arn, known.queue):
            raise Misconfigured(f"{known.uuid} cannot become a mapping of another source: create a new one")
        self._mapping = given
        if _essence(given) != _essence(known):
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._stop.set()

    def health(self) -> Health:
        trouble = self._session.inbox.trouble if self._session is not None else ""
        signs = self._signs
        reasons = tuple(text for text in (self._fault, signs.source, signs.function, trouble, signs.store) if text)
        condition = self._condition
        if condition is Condition.WATCHING and signs.silent and not self._fault:
            condition = Condition.SILENT
        elif condition is Condition.WATCHING and (self._fault or signs.source):
            condition = Condition.OUTAGE
        elif condition is Condition.WATCHING and reasons:
            condition = Condition.DEGRADED
        return Health(condition, reasons, asdict(self._tally))

    # Owning

    async def _run(self) -> None:
        while not self._closing:
            self._changed.clear()
            if self._mapping.deleting or not self._mapping.enabled:
                self._condition, self._fault = Condition.IDLE, ""
                await self._changed.wait()
                continue
            if (claim := await self._acquire()) is None:
                await self._sleep(ASK_EVERY)
                continue
            try:
                await self._own(claim)
            finally:
                elsewhere = claim.wanted_elsewhere
                await claim.release()
            if elsewhere:
                await self._sleep(ASK_EVERY)

    async def _acquire(self) -> Claim | None:
        try:
            claim = await self._services.claims.acquire(f"esm:{self._mapping.uuid}:queue")
        except CheckpointsUnavailable as error:
            self._condition, self._fault = Condition.OUTAGE, str(error)
            return None
        self._fault = ""
        if claim is None:
            self._condition = Condition.WAITING
        return claim

    async def _own(self, claim: Claim) -> None:
        """Until the claim goes, or nothing is to be done any more. A changed mapping begins a new session."""
        self._condition = Condition.WATCHING
        while claim.held and not claim.wanted_elsewhere and not self._closing:
            if self._mapping.deleting or not self._mapping.enabled:
                return
            self._changed.clear()
            self._stop = asyncio.Event()
            self._signs.source = self._signs.function = self._signs.store = ""
            self._signs.silent = False
            try:
                self._session = QueueSession(
                    self._mapping, self._services, self._adapter, claim, self._tally, self._signs, self._stop
                )
                await self._watched(self._session, claim)
                self._fault = ""
            except Exception as error:
                self._fault = str(error) or type(error).__name__
                self._condition = Condition.OUTAGE
                if not isinstance(error, SourcesError):
                    log.exception("the poller of %s failed and begins again", self._mapping.label)
                await self._sleep(BROKEN_PAUSE)
                self._condition = Condition.WATCHING
            finally:
                self._session = None

    async def _watched(self, session: QueueSession, claim: Claim) -> None:
        """Run it, and stop it when the claim goes or somebody else should have it."""
        running = asyncio.create_task(session.run(), name=f"session of {self._mapping.label}")
        while not running.done():
            if not claim.held or claim.wanted_elsewhere:
                self._stop.set()
            await asyncio.wait({running}, timeout=WATCH_EVERY.total_seconds())
        running.result()

    async def _sleep(self, pause: timedelta) -> None:
        """Or until something has changed."""
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._changed.wait()
        except TimeoutError:
            pass  # nothing has


def _essence(mapping: EventSourceMapping) -> EventSourceMapping:
    """Without what changes nothing for a poller."""
    return replace(mapping, revision=0, last_modified=EPOCH, created=EPOCH)
