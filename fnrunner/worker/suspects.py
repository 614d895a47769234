"""Find the event that kills workers without blaming its neighbours.

When a worker dies, everything it had in hand is delivered again, and any of it may be the reason. Each such event is a
suspect. A suspect runs alone, after a *trial* has been written down; the trial is struck out when the run has ended in
any way. If a suspect comes back and its trial still stands and names a dead worker, then it was alone when that worker
died: it is charged one attempt, like a function error, so it is retried and in the end dead-lettered by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import Connection, delete, insert, select

from broker.broker import Delivery
from broker.envelope import Envelope
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreError
from fnrunner.store.schema import trial
from fnrunner.worker.registry import Registry

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(minutes=30)
"""How far back a worker's death can be the reason for a redelivery: longer than the longest function may run."""

ASK_AGAIN = timedelta(seconds=1)
"""How long it is known that somebody died; that nobody did is known for :data:`ASK_AGAIN_SOON`: a death shows at once."""

ASK_AGAIN_SOON = timedelta(milliseconds=50)


class Verdict(Enum):
    """ORDINARY: run it with others. ALONE: run it alone, on trial. GUILTY: its worker died while it ran alone."""

    ORDINARY = "ordinary"
    ALONE = "alone"
    GUILTY = "guilty"


class Suspects:
    """``monotonic`` is seconds. Many redeliveries at once share one question to the store."""

    def __init__(
        self, store: Store, registry: Registry, *, now: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._registry = registry
        self._now = now
        self._monotonic = monotonic
        self._asked_at = float("-inf")
        self._deaths = 0
        self._asking = asyncio.Lock()

    async def judge(self, envelope: Envelope, delivery: Delivery) -> Verdict:
        """Asked of every event before it runs; costs nothing unless it was delivered before."""
        if not delivery.redelivered and not envelope.suspect:
            return Verdict.ORDINARY
        if delivery.redelivered and (worker_id := await self._on_trial_by(envelope)):
            return Verdict.GUILTY if await self._registry.is_dead(worker_id) else Verdict.ALONE
        return Verdict.ALONE if envelope.suspect or await self._somebody_died() else Verdict.ORDINARY

    async def begin(self, envelope: Envelope) -> None:
        """Write down that this event runs alone here, from now on."""
        row = {
            "event_id": envelope.id,
            "redrives": envelope.redrives,
            "worker": self._registry.worker_id,
            "started_ms": int(self._now().timestamp() * 1000),
            "deaths": envelope.attempt,
        }

        def replace_row(connection: Connection) -> None:
            connection.execute(_of(envelope))
            connection.execute(insert(trial), row)

        await self._store.write(replace_row)

    async def end(self, envelope: Envelope) -> None:
        """It did not kill the worker. When the store cannot be told, the trial stands: that is logged, not raised."""
        try:
            await self._store.write(lambda connection: connection.execute(_of(envelope)))
        except StoreError as error:
            log.warning("the trial of %s could not be struck out: %s", envelope.id, error)

    async def _on_trial_by(self, envelope: Envelope) -> str:
        statement = select(trial.c.worker).where(trial.c.event_id == envelope.id, trial.c.redrives == envelope.redrives)
        return await self._store.read(lambda connection: connection.execute(statement).scalar()) or ""

    async def _somebody_died(self) -> bool:
        async with self._asking:
            known_for = ASK_AGAIN if self._deaths else ASK_AGAIN_SOON
            if self._monotonic() - self._asked_at >= known_for.total_seconds():
                since = self._now() - LOOK_BACK
                self._deaths = await self._registry.deaths_since(int(since.timestamp() * 1000))
                self._asked_at = self._monotonic()
            return self._deaths > 0


def _of(envelope: Envelope):  # type: ignore[no-untyped-def]  # a Delete statement
    return delete(trial).where(trial.c.event_id == envelope.id, trial.c.redrives == envelope.redrives)
