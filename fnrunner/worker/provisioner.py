"""Keep provisioned environments ready: as many as this worker holds of them, replaced when they die.

::

    held (agreed in the store) ──► missing? ──► prepare ──ready──► a slot of its own for the version
             ▲                        ▲            │ the initialisation failed
             └── with each heartbeat  └── again after a while, longer each time: reported as FAILED
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from fnrunner.catalogue import Catalogue
from fnrunner.concurrency.permits import LocalPermits
from fnrunner.concurrency.sharing import NOTHING, Numbers
from fnrunner.model.provisioned import INIT_FAILED, Key
from fnrunner.worker.invoker import Specs
from fnrunner.worker.pool import InitFailed, NoRoom, Pool, Versioned

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=1)
FIRST_BACKOFF = timedelta(seconds=1)
LONGEST_BACKOFF = timedelta(minutes=1)
AT_ONCE = 8
"""How many environments are initialised at the same time."""
REASON_CHARS = 255


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there are not more: ``reason`` for the status, tried again at ``until`` (monotonic), ``after`` so much longer."""

    reason: str
    until: float
    after: timedelta


class Provisioner:
    """``aim`` says how many; ``start`` and ``close`` once. ``monotonic`` is seconds."""

    def __init__(
        self,
        *,
        pool: Pool,
        specs: Specs,
        permits: LocalPermits,
        catalogue: Catalogue,
        monotonic: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._specs = specs
        self._permits = permits
        self._catalogue = catalogue
        self._monotonic = monotonic
        self._held: Numbers = NOTHING
        self._wanted: Counter[Versioned] = Counter()
        self._troubles: dict[Versioned, Trouble] = {}
        self._suspended = False
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        pool.on_kept_lost(self._lost)

    def start(self) -> None:
        self._task = asyncio.create_task(self._work(), name="provisioner")

    async def close(self) -> None:
        """Prepare no more. What is ready stays in the pool. Idempotent."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def lower(self, target: Numbers) -> None:
        """Give up at once what is above the target, as far as it does not run."""
        self._want({key: min(number, target.get(key, 0)) for key, number in self._held.items()})

    def aim(self, held: Numbers, target: Numbers) -> None:
        """So much this worker holds now. What is above the target is still in use, and not kept afterwards."""
        self._held, self._suspended = held, False
        self._want({key: min(number, target.get(key, 0)) for key, number in held.items()})
        self._permits.hold_back(sum(held.values()))

    def suspend(self) -> None:
        """Nothing may start in a provisioned environment until ``aim`` is called again. They stay ready."""
        self._suspended = True
        for versioned in self._wanted:
            self._count(versioned)

    def running(self) -> Numbers:
        """How many run now, of each key that is held."""
        return self._attributed(self._permits.slots.own_running)

    def prepared(self) -> Mapping[Key, tuple[int, str]]:
        """Of each key that is held: how many are ready, and why there are not more."""
        ready = self._attributed(lambda function, version: self._pool.kept((function, version)))
        return {key: (number, self._reason((key[0], key[2]))) for key, number in ready.items()}

    def _want(self, numbers: Numbers) -> None:
        wanted: Counter[Versioned] = Counter()
        for (function, _, version), number in numbers.items():
            wanted[function, version] += number
        former, self._wanted = self._wanted, Counter({name: number for name, number in wanted.items() if number})
        for versioned in former.keys() | self._wanted.keys():
            self._pool.keep_no_more_than(versioned, self._wanted[versioned])
            self._count(versioned)
        for versioned in self._troubles.keys() - self._wanted.keys():
            del self._troubles[versioned]
        self._due.set()

    def _count(self, versioned: Versioned) -> None:
        """The version's own slots are the environments that are ready."""
        ready = 0 if self._suspended else min(self._pool.kept(versioned), self._wanted[versioned])
        self._permits.set_own(*versioned, ready)

    def _lost(self) -> None:
        for versioned in self._wanted:
            if self._permits.slots.own(*versioned) > self._pool.kept(versioned):
                self._count(versioned)
        self._due.set()

    def _attributed(self, count: Callable[[str, str], int]) -> Numbers:
        """What there is of a version, divided among the keys that want it."""
        left: dict[Versioned, int] = {}
        found = {}
        for key, number in sorted(self._held.items()):
            versioned = key[0], key[2]
            rest = left.setdefault(versioned, count(*versioned))
            found[key] = min(number, rest)
            left[versioned] -= found[key]
        return found

    def _reason(self, versioned: Versioned) -> str:
        trouble = self._troubles.get(versioned)
        return trouble.reason if trouble else ""

    async def _work(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY.total_seconds()):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            try:
                await self._replenish()
            except Exception:
                log.exception("provisioned environments could not be prepared; it is tried again")

    async def _replenish(self) -> None:
        missing: list[Versioned] = []
        for versioned, number in self._wanted.items():
            trouble = self._troubles.get(versioned)
            if trouble is None or self._monotonic() >= trouble.until:
                missing += [versioned] * (number - self._pool.kept(versioned))
        if missing:
            await asyncio.gather(*(self._prepare(versioned) for versioned in missing[:AT_ONCE]))
            if len(missing) > AT_ONCE:
                self._due.set()
        for versioned in list(self._wanted):
            # meanwhile fewer may be wanted
            self._pool.keep_no_more_than(versioned, self._wanted[versioned])
            self._count(versioned)

    async def _prepare(self, versioned: Versioned) -> None:
        function = self._catalogue.lookup(*versioned)
        if function is None:
            return
        try:
            await self._pool.prepare(await self._specs.of(function))
        except NoRoom:
            return
        except InitFailed as error:
            log.warning("no provisioned environment for %s:%s: %s", *versioned, error)
            self._note(versioned, INIT_FAILED)
        except Exception as error:
            log.warning("no provisioned environment for %s:%s: %s", *versioned, error)
            self._note(versioned, f"{type(error).__name__}: {error}")
        else:
            self._troubles.pop(versioned, None)

    def _note(self, versioned: Versioned, reason: str) -> None:
        former = self._troubles.get(versioned)
        now = self._monotonic()
        if former is not None and former.until > now:
            # several failed at once: that is one failure
            return
        after = min(former.after * 2, LONGEST_BACKOFF) if former else FIRST_BACKOFF
        self._troubles[versioned] = Trouble(reason[:REASON_CHARS], now + after.total_seconds(), after)
