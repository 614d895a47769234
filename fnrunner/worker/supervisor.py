"""One worker process: start in order, keep going, drain in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta

from broker import names
from broker.errors import BrokerError
from fnrunner.catalogue import Catalogue
from fnrunner.catalogue.follower import Follower
from fnrunner.concurrency.permits import ConcurrencyGate
from fnrunner.model import limits
from fnrunner.model.problem import Code, Problem
from fnrunner.store.errors import StoreError
from fnrunner.telemetry.metrics import Metrics
from fnrunner.worker.intake import Intake
from fnrunner.worker.invoker import Specs
from fnrunner.worker.pool import Pool
from fnrunner.worker.precompile import Precompiler
from fnrunner.worker.provisioner import Provisioner
from fnrunner.worker.registry import HEARTBEAT, Registry
from fnrunner.worker.report import Reporter
from fnrunner.worker.watch import Watch

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
        catalogue: Catalogue,
        gate: ConcurrencyGate,
        intake: Intake,
        watch: Watch,
        pool: Pool,
        provisioner: Provisioner,
        specs: Specs,
        precompiler: Precompiler,
        registry: Registry,
        reporter: Reporter,
        former: Callable[[], Coroutine[None, None, set[str]]],
        metrics: Metrics,
        drain_timeout: timedelta,
        runtimes: Mapping[str, str],
    ) -> None:
        """``runtimes`` are what functions can ask for here, and what each is run by."""
        self._catalogue = catalogue
        self._gate = gate
        self._intake = intake
        self._watch = watch
        self._pool = pool
        self._provisioner = provisioner
        self._specs = specs
        self._precompiler = precompiler
        self._registry = registry
        self._reporter = reporter
        self._former = former
        self._metrics = metrics
        self._drain_timeout = drain_timeout
        self._runtimes = runtimes
        self._follower = Follower(catalogue, self._follow, "the worker")
        self._tasks: list[asyncio.Task[None]] = []
        self._keys: dict[str, str] = {}
        self._versions: set[tuple[str, str]] = set()
        self._stopped = False

    async def start(self) -> None:
        await self._registry.enter()
        self._provisioner.start()
        self._precompiler.start()
        await self._follower.start()
        for name, every, work in (
            ("heartbeat", HEARTBEAT, self._beat),
            ("prefetch", HEARTBEAT, self._adjust),
            ("watch", HEARTBEAT, self._watch.look),
            ("reaper", REAP_EVERY, self._reap),
            ("sweeper", SWEEP_EVERY, self._sweep),
        ):
            self._tasks.append(asyncio.create_task(self._repeat(every, work), name=name))

    def problems(self) -> list[Problem]:
        """What keeps this worker from working, besides the broker's connection and the store; empty when it works."""
        found = self._watch.problems()
        if problem := self._follower.problem:
            why = f"connected but not consuming all functions: {problem}"
            found.append(Problem("worker", why, "Run `fnrunner doctor`", Code.NOT_CONSUMING, disabling=True))
        return found

    def activity(self) -> dict[str, Mapping[str, int] | Mapping[str, str]]:
        """What is in hand now, by function: ``running`` environments, and ``events`` that are not settled. Beside it
        ``runtimes``, as they were when it was made.
        """
        holdings = self._intake.holdings().items()
        held = {
            holding.function: holding.held for queue, holding in holdings if queue == names.events(holding.function)
        }
        events = {name: count for name, count in held.items() if count}
        return {"running": self._pool.busy(), "events": events, "runtimes": self._runtimes}

    async def drain(self) -> None:
        """Take no more, let what runs end, give back the rest, and say that it stopped in order. Charges no attempt."""
        if self._stopped:
            return
        self._stopped = True
        await self._follower.close()
        await self._provisioner.close()
        await self._precompiler.close()
        await self._intake.stop()
        if not await self._intake.drained(self._drain_timeout.total_seconds()):
            given_back = await self._intake.give_back()
            log.warning("%d deliveries did not end in time and were given back", given_back)
        await self._gate.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()
        try:
            await self._registry.leave()
        except StoreError as error:
            log.warning("the orderly stop could not be written down: %s", error)

    async def _follow(self) -> None:
        snapshot = self._catalogue.snapshot
        functions = [function for function in snapshot.functions.values() if function.version == limits.LATEST]
        names = {function.name for function in functions}
        caps = {function.name: function.reserved_concurrency for function in functions}
        caps |= dict.fromkeys(set(self._keys) - names)
        untold = await self._set_caps(caps, snapshot.change)
        for function in functions:
            if self._keys.get(function.name, function.revision_id) != function.revision_id:
                await self.renew(function.name)
            self._keys[function.name] = function.revision_id
        for gone in set(self._keys) - names:
            del self._keys[gone]
        for name, version in self._versions - snapshot.functions.keys():
            self._specs.forget(name, version)
            self._pool.retire(name, version)
        self._versions = set(snapshot.functions)
        await self._registry.settle(self._intake.count())
        await self._intake.follow(functions, await self._former())
        if untold is not None:
            raise untold

    async def _set_caps(self, caps: Mapping[str, int | None], generation: int) -> BrokerError | None:
        """One cap that the broker could not be told keeps back neither the others nor anything else."""
        untold = None
        for name, cap in caps.items():
            try:
                await self._gate.set_cap(name, cap, generation)
            except BrokerError as error:
                untold = error
        return untold

    async def renew(self, name: str) -> None:
        """The function's code may be another: idle environments stop, unless what they see has not changed."""
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
