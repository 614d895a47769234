"""One worker process: start in order, keep going, drain in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta

from broker.broker import Broker, State
from fnrunner.catalogue import Catalogue
from fnrunner.catalogue.follower import Follower
from fnrunner.concurrency.permits import ConcurrencyGate
from fnrunner.store.errors import StoreError
from fnrunner.telemetry.metrics import Metrics
from fnrunner.worker.intake import Intake
from fnrunner.worker.invoker import Specs
from fnrunner.worker.pool import Pool
from fnrunner.worker.registry import HEARTBEAT, Registry
from fnrunner.worker.report import Reporter

log = logging.getLogger(__name__)

REAP_EVERY = timedelta(seconds=5)
SWEEP_EVERY = timedelta(minutes=10)


class Supervisor:
    """Owns the worker's tasks. ``former`` names functions that are gone and may still have events on their way.

    ``start`` returns when every known function is consumed; a second ``drain`` is harmless.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        catalogue: Catalogue,
        gate: ConcurrencyGate,
        intake: Intake,
        pool: Pool,
        specs: Specs,
        registry: Registry,
        reporter: Reporter,
        former: Callable[[], Coroutine[None, None, set[str]]],
        metrics: Metrics,
        drain_timeout: timedelta,
    ) -> None:
        self._broker = broker
        self._catalogue = catalogue
        self._gate = gate
        self._intake = intake
        self._pool = pool
        self._specs = specs
        self._registry = registry
        self._reporter = reporter
        self._former = former
        self._metrics = metrics
        self._drain_timeout = drain_timeout
        self._follower = Follower(catalogue, self._follow, "the worker")
        self._tasks: list[asyncio.Task[None]] = []
        self._keys: dict[str, str] = {}
        self._last_beat = time.monotonic()
        self._stopped = False

    async def start(self) -> None:
        await self._registry.enter()
        await self._follower.start()
        for name, every, work in (
            ("heartbeat", HEARTBEAT, self._beat),
            ("prefetch", HEARTBEAT, self._adjust),
            ("reaper", REAP_EVERY, self._reap),
            ("sweeper", SWEEP_EVERY, self._sweep),
        ):
            self._tasks.append(asyncio.create_task(self._repeat(every, work), name=name))

    def problems(self) -> list[str]:
        """What keeps this worker from working, in words; empty when it works."""
        status = self._broker.status
        found = []
        if status.state in (State.DISCONNECTED, State.CLOSED):
            found.append(f"the broker is {status.state.value}: {status.reason or 'trying again'}")
        if status.state is State.BLOCKED:
            found.append(f"the broker takes no messages: {status.reason}")
        if problem := self._follower.problem:
            found.append(f"connected but not consuming: the functions' queues could not be subscribed yet: {problem}")
        if (silent := time.monotonic() - self._last_beat) > 3 * HEARTBEAT.total_seconds():
            found.append(f"the store has not taken a heartbeat for {silent:.0f} s")
        return found

    async def drain(self) -> None:
        """Take no more, let what runs end, give back the rest, and say that it stopped in order. Charges no attempt."""
        if self._stopped:
            return
        self._stopped = True
        await self._follower.close()
        await self._intake.stop()
        if not await self._intake.drained(self._drain_timeout.total_seconds()):
            given_back = await self._intake.give_back()
            log.warning("%d deliveries did not end in time and were given back", given_back)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()
        try:
            await self._registry.leave()
        except StoreError as error:
            log.warning("the orderly stop could not be written down: %s", error)

    async def _follow(self) -> None:
        functions = list(self._catalogue.snapshot.functions.values())
        for function in functions:
            await self._gate.set_cap(function.name, function.reserved_concurrency)
        for function in functions:
            if self._keys.get(function.name, function.revision_id) != function.revision_id:
                await self._renew(function.name)
            self._keys[function.name] = function.revision_id
        for gone in set(self._keys) - {function.name for function in functions}:
            del self._keys[gone]
            self._specs.forget(gone)
            self._pool.retire(gone)
            await self._gate.set_cap(gone, None)
        await self._intake.follow(functions, await self._former())

    async def _renew(self, name: str) -> None:
        """Idle environments of the former code stop, unless what they see has not changed."""
        function = self._catalogue.lookup(name)
        if function is None:
            return
        try:
            spec = await self._specs.of(function)
        except Exception as error:
            log.warning("the new code of %s is not there yet: %s", name, error)
            return
        self._pool.renew(name, spec.key)

    async def _beat(self) -> None:
        counts = self._intake.count()
        for function in self._intake.functions:
            self._metrics.in_flight.labels(function).set(counts.get(function, 0))
        await self._registry.beat(counts)
        self._last_beat = time.monotonic()
        await self._registry.watch()

    async def _adjust(self) -> None:
        await self._intake.adjust(self._reporter.durations_s())

    async def _reap(self) -> None:
        self._pool.reap()

    async def _sweep(self) -> None:
        await self._specs.sweep(self._pool.code_directories())

    async def _repeat(self, every: timedelta, work: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            try:
                await work()
            except Exception:
                log.exception("%s failed; it is tried again", work.__name__)
