"""Whether what this worker consumes really comes, seen from outside: what the broker says of the queues is compared with
what arrived.

A consumer can be dead while its connection lives and nobody says so: RabbitMQ 3 tells it nothing when a quorum queue is
deleted and made again within an instant. With each heartbeat some functions' queues are asked for their depths, those under
suspicion first and the others in turn. Where a queue is empty, nothing came, and events were accepted all the same, the store
is asked for those that are in nobody's hands (:mod:`~fnrunner.worker.stranded`)::

    nothing stands out ──► suspected at one look ──► confirmed at the next: reported, consumed anew, again every 10 s
            ▲                        │                        │
            └────────────────────────┴── something came, or there is nothing to wait for

Consuming anew leaves what is in hand as it is. For the same stranded events it is done once: what stays so is lost. A problem
that stays is disabling: after a while the process gives up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import Protocol

from broker import names
from broker.broker import QueueDepth, State, Status
from broker.errors import BrokerError
from fnrunner.model.problem import Code, Problem
from fnrunner.store.errors import StoreError
from fnrunner.worker.intake import Holding

log = logging.getLogger(__name__)

MOST = 50
"""How many queues are asked at each look, besides those under suspicion."""

ASK_PATIENCE = timedelta(seconds=5)
AT_ONCE = 10
"""How many queues are asked in one patience: each is a round trip to the broker."""

RENEW_PATIENCE = timedelta(seconds=15)
RENEW_AGAIN = timedelta(seconds=10)
REMEDY = "It is consumed anew by itself; where that does not help, restart the worker and look at the broker's log"


class Queues(Protocol):
    """What is asked of the broker: see :class:`broker.broker.Broker`."""

    @property
    def status(self) -> Status: ...

    async def depths(self, queues: Iterable[str]) -> dict[str, QueueDepth]: ...


class Consuming(Protocol):
    """What is asked of the intake: see :class:`fnrunner.worker.intake.Intake`."""

    def holdings(self) -> dict[str, Holding]: ...

    async def renew(self, name: str) -> None: ...


class Accounts(Protocol):
    """What is asked of the store: see :class:`fnrunner.worker.stranded.Stranded`."""

    async def find(self, ready: Mapping[str, int]) -> dict[str, int]: ...

    def excuse(self, function: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Suspicion:
    """``why`` in words. ``received`` is what had come when it arose; times are monotonic seconds."""

    function: str
    why: str
    received: int
    confirmed: bool = False
    renewed_at: float | None = None


def fault(depth: QueueDepth | None, holding: Holding) -> str:
    """What is odd about a queue at one look, in words; empty when nothing is.

    Half of the prefetch has to be free: while a change of the prefetch is under way, the broker may use less than the rest.

    >>> here = Holding("f", prefetch=4, held=1, received=9)
    >>> fault(QueueDepth(3, None, 1), here), fault(QueueDepth(0, None, 0), here), fault(None, here)
    ('3 that wait in it do not come, although there is room', 'it has no consumer', 'it does not exist')
    >>> fault(QueueDepth(0, None, 1), here), fault(QueueDepth(3, None, 1), Holding("f", 4, 2, 9))
    ('', '')
    >>> fault(QueueDepth(3, None, 0), Holding("f", prefetch=0, held=0, received=9))
    ''
    """
    if holding.prefetch <= 0:
        return ""
    if depth is None:
        return "it does not exist"
    if depth.consumers == 0 and holding.held < holding.prefetch:
        # with so much in hand as may be, or more after the prefetch has shrunk, no consumer is wanted
        return "it has no consumer"
    if depth.ready and 2 * holding.held < holding.prefetch:
        return f"{depth.ready} that wait in it do not come, although there is room"
    return ""


def judge(former: Suspicion | None, why: str, holding: Holding) -> Suspicion | None:
    """What is thought of a queue after one more look. Whatever came since the last one clears it."""
    if not why:
        return None
    if former is None or former.received != holding.received:
        return Suspicion(holding.function, why, holding.received)
    return replace(former, why=why, confirmed=True)


class Watch:
    """``look`` with each heartbeat. ``monotonic`` is in seconds; ``most`` bounds the queues that are asked at once."""

    def __init__(
        self, broker: Queues, intake: Consuming, accounts: Accounts, *, monotonic: Callable[[], float], most: int = MOST
    ) -> None:
        self._broker = broker
        self._intake = intake
        self._accounts = accounts
        self._received: dict[str, int] = {}
        self._monotonic = monotonic
        self._most = most
        self._turn = ""
        self._suspicions: dict[str, Suspicion] = {}
        self._unanswered = 0
        self._renewing: dict[str, asyncio.Task[None]] = {}

    def problems(self) -> list[Problem]:
        found = [
            Problem(
                "worker",
                f"connected but not consuming {queue}: {suspicion.why}",
                REMEDY,
                Code.NOT_CONSUMING,
                disabling=True,
            )
            for queue, suspicion in self._suspicions.items()
            if suspicion.confirmed
        ]
        if self._unanswered > 1:
            why = f"connected but not consuming: the broker has not answered {self._unanswered} questions in a row"
            found.append(Problem("worker", why, "Look at the broker's log", Code.NOT_CONSUMING, disabling=True))
        return found

    async def look(self) -> None:
        """Ask once, and consume anew what is confirmed."""
        if self._broker.status.state not in (State.CONNECTED, State.BLOCKED):
            # whoever is not connected has a problem of another name, and everything is set up anew afterwards
            self._suspicions.clear()
            self._unanswered = 0
            return
        asked, depths = await self._ask(self._next(self._intake.holdings()))
        if not asked:
            return
        self._judge(asked, depths, await self._stranded(asked, depths))
        await self._renew()

    async def _ask(self, queues: Sequence[str]) -> tuple[list[str], dict[str, QueueDepth]]:
        """Those that the broker answered for, and what it said."""
        asked: list[str] = []
        depths: dict[str, QueueDepth] = {}
        for start in range(0, len(queues), AT_ONCE):
            part = queues[start : start + AT_ONCE]
            try:
                async with asyncio.timeout(ASK_PATIENCE.total_seconds()):
                    depths |= await self._broker.depths(part)
            except (TimeoutError, BrokerError) as error:
                log.info("the broker does not say how many messages wait: %s", error or "no answer")
                break
            asked += part
        self._unanswered = 0 if asked or not queues else self._unanswered + 1
        return asked, depths

    def _next(self, holdings: Mapping[str, Holding]) -> list[str]:
        """The queues under suspicion, and the next ones in turn."""
        queues = sorted(holdings)
        start = next((i for i, queue in enumerate(queues) if queue > self._turn), 0)
        others = list(islice((q for q in queues[start:] + queues[:start] if q not in self._suspicions), self._most))
        if others:
            self._turn = others[-1]
        return [queue for queue in self._suspicions if queue in holdings] + others

    async def _stranded(self, asked: Iterable[str], depths: Mapping[str, QueueDepth]) -> dict[str, int]:
        """Of those functions whose events do not come at present, by the queue's name."""
        holdings, ready = self._intake.holdings(), {}
        for queue in asked:
            holding, depth = holdings.get(queue), depths.get(queue)
            if holding is None or depth is None or queue != names.events(holding.function):
                continue
            # of those that come nothing needs to be asked
            if self._received.get(queue) == holding.received and holding.prefetch > 0:
                ready[holding.function] = depth.ready
            self._received[queue] = holding.received
        try:
            return {names.events(name): count for name, count in (await self._accounts.find(ready)).items()}
        except StoreError as error:
            log.info("the store does not say what is in nobody's hands: %s", error)
            return {}

    def _judge(self, asked: Iterable[str], depths: Mapping[str, QueueDepth], stranded: Mapping[str, int]) -> None:
        # as it is after the answer: what came while the broker was asked counts
        holdings = self._intake.holdings()
        for queue in [queue for queue in self._suspicions if queue not in holdings]:
            del self._suspicions[queue]
        for queue in asked:
            if (holding := holdings.get(queue)) is None:
                continue
            former = self._suspicions.pop(queue, None)
            why = fault(depths.get(queue), holding)
            if not why and (count := stranded.get(queue)):
                why = f"{count} that were accepted are in nobody's hands"
            if (suspicion := judge(former, why, holding)) is not None:
                self._suspicions[queue] = suspicion
            elif former is not None and former.confirmed:
                log.info("%s is consumed again", queue)

    async def _renew(self) -> None:
        now = self._monotonic()
        due = {
            queue: suspicion
            for queue, suspicion in self._suspicions.items()
            if suspicion.confirmed
            and (suspicion.renewed_at is None or now - suspicion.renewed_at >= RENEW_AGAIN.total_seconds())
        }
        for queue, suspicion in due.items():
            log.warning("connected but not consuming %s: %s; consuming it anew", queue, suspicion.why)
            self._suspicions[queue] = replace(suspicion, renewed_at=now)
            self._accounts.excuse(suspicion.function)
        for function in dict.fromkeys(suspicion.function for suspicion in due.values()):
            if (renewing := self._renewing.get(function)) is None or renewing.done():
                renewing = self._renewing[function] = asyncio.ensure_future(self._intake.renew(function))
            try:
                # not cancelled when it takes long: a consumer that nobody knows would be left behind
                async with asyncio.timeout(RENEW_PATIENCE.total_seconds()):
                    await asyncio.shield(renewing)
            except (TimeoutError, BrokerError) as error:
                log.warning("%s could not be consumed anew: %s", function, error or "the broker does not answer")
