"""Show that nothing was lost: accepted = succeeded + dead-lettered + expired + in flight + missing, for each function.

An event is final when it has a succeeded attempt, or else when its newest dead letter has not been redriven. Every
other accepted or redriven event is outstanding. What the broker and the workers can account for is in flight; what is
left over is missing. An event may be accounted for twice for a moment, by its retry and by its queue: that hides a loss
until the moment has passed, and never invents one.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import Connection, func, select

from broker import names
from broker.broker import Broker
from broker.delays import milliseconds
from broker.errors import QueueNotFound
from fnrunner.delivery import books
from fnrunner.store.engine import Store
from fnrunner.store.schema import worker

MAX_MISSING_IDS = 20
RECHECK = timedelta(seconds=2)
GRACE = timedelta(seconds=60)
"""How long after its due time a retry still counts as on its way: queues move it, and a worker that took it has not
finished."""

FRESH = timedelta(seconds=15)
"""How old a worker's heartbeat may be for what it said it holds to count. An older one may have died unnoticed."""


@dataclass(frozen=True, slots=True)
class FunctionBalance:
    """``missing`` events are neither final nor in any queue, worker or delay. ``missing_ids`` names up to 20 of the
    oldest for which no retry is due; while queues and workers hold others, some of these may be among them.
    ``duplicates`` are succeeded attempts beyond the first of an event.
    """

    function: str
    accepted: int = 0
    succeeded: int = 0
    dead_lettered: int = 0
    expired: int = 0
    in_flight: int = 0
    missing: int = 0
    duplicates: int = 0
    missing_ids: tuple[str, ...] = ()

    @property
    def balanced(self) -> bool:
        return self.missing == 0


@dataclass(frozen=True, slots=True)
class _Held:
    """What one function's queues hold. ``unsettled`` None: the broker does not say."""

    ready: int = 0
    unsettled: int | None = 0


@dataclass(frozen=True, slots=True)
class _Look:
    """``unaccounted``: ids of outstanding events, oldest first, for which no retry is pending."""

    function: str
    totals: books.Totals
    missing: int = 0
    unaccounted: tuple[str, ...] = ()

    def balance(self) -> FunctionBalance:
        totals = self.totals
        return FunctionBalance(
            function=self.function,
            accepted=totals.final + totals.outstanding,
            succeeded=totals.succeeded,
            dead_lettered=totals.dead_lettered,
            expired=totals.expired,
            in_flight=totals.outstanding - self.missing,
            missing=self.missing,
            duplicates=totals.duplicates,
            missing_ids=self.unaccounted[: min(self.missing, MAX_MISSING_IDS)],
        )


class Audit:
    """``clock`` gives epoch milliseconds. ``recheck`` is how long after a suspicion the second look comes."""

    def __init__(self, store: Store, broker: Broker, *, clock: Callable[[], int], recheck: timedelta = RECHECK) -> None:
        self._store = store
        self._broker = broker
        self._clock = clock
        self._recheck = recheck

    async def run(self, function: str | None = None) -> list[FunctionBalance]:
        """One balance a function, by name; with ``function`` only that one, which may be all zero.

        Events move while they are counted. So what seems to be missing is looked for a second time, and only what is
        missing both times counts. Raises StoreError, Unavailable.
        """
        looks = await self._look(function)
        if any(look.missing for look in looks):
            await asyncio.sleep(self._recheck.total_seconds())
            before = {look.function: look for look in looks}
            looks = [_in_both(before.get(look.function), look) for look in await self._look(function)]
        return [look.balance() for look in looks]

    async def _look(self, function: str | None) -> list[_Look]:
        listed = [function] if function else await self._store.read(books.functions)
        held = dict(zip(listed, await asyncio.gather(*map(self._held, listed)), strict=True))
        now_ms = self._clock()
        since_ms, heard_ms = now_ms - milliseconds(GRACE), now_ms - milliseconds(FRESH)

        def work(connection: Connection) -> list[_Look]:
            totals = books.totals(connection, function)
            in_hand = _running(connection, heard_ms)
            looks = []
            for name in sorted({*listed, *totals}):
                of_name = totals.get(name, books.NOTHING)
                looks.append(_look_at(connection, name, of_name, held.get(name, _Held()), in_hand[name], since_ms))
            return looks

        return await self._store.read(work)

    async def _held(self, function: str) -> _Held:
        """What lies in the function's events and dead-letter queues; nothing where the function has been deleted."""
        ready, unsettled = 0, 0
        says = True
        for queue in (names.events(function), names.dead(function)):
            try:
                depth = await self._broker.depth(queue)
            except QueueNotFound:
                continue
            ready += depth.ready
            says = says and depth.unsettled is not None
            unsettled += depth.unsettled or 0
        return _Held(ready, unsettled if says else None)


def _look_at(
    connection: Connection, function: str, totals: books.Totals, held: _Held, running: int, since_ms: int
) -> _Look:
    if totals.outstanding <= held.ready + (held.unsettled or 0):
        return _Look(function, totals)
    # The queues alone do not account for everything: look at the events themselves, oldest first.
    events = books.outstanding_events(function).subquery()
    oldest = select(events.c.event_id).group_by(events.c.event_id).order_by(func.min(events.c.at_ms), events.c.event_id)
    outstanding = list(connection.execute(oldest).scalars())
    retrying = set(connection.execute(books.retries_pending(function, since_ms)).scalars())
    unaccounted = tuple(event_id for event_id in outstanding if event_id not in retrying)
    lost = len(unaccounted) - held.ready - (running if held.unsettled is None else held.unsettled)
    return _Look(function, totals, max(0, lost), unaccounted)


def _in_both(first: _Look | None, second: _Look) -> _Look:
    if first is None:
        return replace(second, missing=0)
    still = frozenset(first.unaccounted)
    ids = tuple(event_id for event_id in second.unaccounted if event_id in still)
    return replace(second, missing=min(first.missing, second.missing, len(ids)), unaccounted=ids)


def _running(connection: Connection, heard_ms: int) -> Counter[str]:
    """How many deliveries of each function living workers hold, as of their last heartbeat since ``heard_ms``."""
    query = select(worker.c.in_flight).where(
        worker.c.stopped_ms.is_(None), worker.c.died_ms.is_(None), worker.c.heartbeat_ms >= heard_ms
    )
    held: Counter[str] = Counter()
    for text in connection.execute(query).scalars():
        held.update(json.loads(text))
    return held
