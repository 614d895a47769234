"""Measures the load of all functions every few seconds, with a handful of questions for all of them together.

::

    broker: depths of the events queues ─┐
    store: what each process says        ├─► Load ─► /metrics, the status, `fnrunner status`
    store: the oldest untried event      ┘

Nothing is done for each invocation. With very many functions each sample asks for some of them in turn, and keeps what was
found of the others; the oldest events are looked for only where there is a backlog, for a bounded time. A sample that fails
keeps the last one, which is not shown any more once it is old.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from time import monotonic

from sqlalchemy import Connection

from broker import names
from broker.broker import Broker, QueueDepth
from broker.errors import BrokerError
from fnrunner.catalogue import Catalogue
from fnrunner.delivery import waiting
from fnrunner.model.load import FunctionLoad, Load
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreError
from fnrunner.telemetry import fleet

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=5)
OLD = 6 * EVERY
"""A sample that is older says nothing any more."""

PATIENCE = timedelta(seconds=20)
MOST_QUEUES = 500
LOOKING = timedelta(milliseconds=500)
"""How long each sample may look for the oldest events."""

MOST_STEPS = 5
SETTLING = timedelta(seconds=10)
"""How long before a moment without backlog an event was accepted that has surely been tried by then."""


class Backlog:
    """``latest`` is the last sample; ``clock`` gives epoch milliseconds."""

    def __init__(self, catalogue: Catalogue, broker: Broker, store: Store, *, clock: Callable[[], int]) -> None:
        self._catalogue = catalogue
        self._broker = broker
        self._store = store
        self._clock = clock
        self._latest: Load | None = None
        self._depths: dict[str, QueueDepth] = {}
        self._turn = ""
        self._marks: dict[str, int] = {}
        self._idle_since: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def latest(self) -> Load | None:
        """None before the first sample, and when the last one is old."""
        found = self._latest
        return found if found is not None and self._clock() - found.taken_ms <= _ms(OLD) else None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._sample_for_ever(), name="backlog")

    async def close(self) -> None:
        """Idempotent."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait([task])

    async def sample(self) -> Load:
        """Measure now. Raises BrokerError, StoreError, TimeoutError."""
        taken_ms = self._clock()
        functions = {name for name, _ in self._catalogue.snapshot.functions}
        async with asyncio.timeout(PATIENCE.total_seconds()):
            await self._ask(functions)
            self._latest = load = await self._store.read(
                lambda connection: self._measure(connection, functions, taken_ms)
            )
        return load

    async def _ask(self, functions: set[str]) -> None:
        """Refresh the depths of those whose turn it is."""
        for gone in self._depths.keys() - functions:
            del self._depths[gone]
            self._marks.pop(gone, None)
            self._idle_since.pop(gone, None)
        asked = _in_turn(sorted(functions), self._turn, MOST_QUEUES)
        self._turn = asked[-1] if asked else ""
        depths = await self._broker.depths(map(names.events, asked))
        for name in asked:
            self._depths[name] = depths.get(names.events(name), QueueDepth(0, None, 0))

    def _measure(self, connection: Connection, functions: set[str], taken_ms: int) -> Load:
        """On a thread of the store; samples are taken one after the other."""
        seen = [process for process in fleet.read(connection, taken_ms) if not process.silent]
        capacity = sum(process.capacity for process in seen if not process.draining)
        running, events = _total(p.running for p in seen), _total(p.events for p in seen)
        loads = {}
        until = monotonic() + LOOKING.total_seconds()
        for name in _in_turn(sorted(functions & self._depths.keys()), self._turn, len(functions)):
            depth, function = self._depths[name], self._catalogue.lookup(name)
            reserved = None if function is None else function.reserved_concurrency
            load = FunctionLoad(
                function=name,
                ready=depth.ready,
                unsettled=events[name] if depth.unsettled is None else depth.unsettled,
                running=running[name],
                limit=capacity if reserved is None else reserved,
            )
            loads[name] = replace(load, oldest_s=self._oldest_s(connection, load, taken_ms, until))
        return Load(taken_ms, capacity, sum(running.values()), loads)

    def _oldest_s(self, connection: Connection, load: FunctionLoad, taken_ms: int, until: float) -> float | None:
        name = load.function
        if not load.backlog:
            # twice in a row, since an event may be on its way from the queue to a worker in the moment of one look
            if (before := self._idle_since.setdefault(name, taken_ms)) != taken_ms:
                self._marks[name] = max(self._marks.get(name, 0), before - _ms(SETTLING))
                self._idle_since[name] = taken_ms
            return 0.0
        self._idle_since.pop(name, None)
        oldest_ms: int | None = None
        for _ in range(MOST_STEPS):
            if monotonic() > until:
                return None
            if name not in self._marks:
                self._marks[name] = waiting.first_mark(connection, name, load.backlog)
            found = waiting.step(connection, name, self._marks[name])
            self._marks[name], oldest_ms = found.mark_ms, found.oldest_ms
            if oldest_ms is not None:
                break
            if found.complete:
                oldest_ms = waiting.oldest_retried(connection, name)
                return 0.0 if oldest_ms is None else _age_s(oldest_ms, taken_ms)
        return None if oldest_ms is None else _age_s(oldest_ms, taken_ms)

    async def _sample_for_ever(self) -> None:
        while True:
            try:
                await self.sample()
            except (BrokerError, StoreError, TimeoutError) as error:
                log.info("the load could not be measured: %s", error or "no answer in time")
            except Exception:
                log.exception("the load could not be measured")
            await asyncio.sleep(EVERY.total_seconds())


def _in_turn(items: list[str], after: str, most: int) -> list[str]:
    """At most so many, beginning behind ``after``.

    >>> _in_turn(["a", "b", "c"], "a", 2), _in_turn(["a", "b", "c"], "c", 9), _in_turn([], "", 3)
    (['b', 'c'], ['a', 'b', 'c'], [])
    """
    start = next((i for i, item in enumerate(items) if item > after), 0)
    return list(islice(items[start:] + items[:start], most))


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _age_s(at_ms: int, now_ms: int) -> float:
    return max(0, now_ms - at_ms) / 1000


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
