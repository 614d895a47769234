"""Keep environments between invocations, and give each invocation one that is its own while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from fnrunner.model import limits
from fnrunner.model.invocation import PROVISIONED, EnvironmentSpec
from fnrunner.worker import assignment, wear
from fnrunner.worker.environment import EXTENSIONS_GRACE, Environment, EnvironmentState
from fnrunner.worker.starting import ScalingLimited, StartLine

log = logging.getLogger(__name__)

STOP_GRACE = EXTENSIONS_GRACE
"""What does not react to SIGTERM at all waits as long for its end."""

MakeEnvironment = Callable[[EnvironmentSpec, str], Environment]
"""Makes an environment that has not started, from its spec and the reason why it is cold."""

Versioned = tuple[str, str]
"""A function's name and one of its versions: each version has a current key, and environments, of its own."""

SHORT_REST_S = 0.1
"""A runtime that speaks the Runtime API asks for its next invocation a moment after its answer. To wait for that is quicker
than to start another environment."""

LIVING = (EnvironmentState.IDLE, EnvironmentState.BUSY)


class NoRoom(Exception):
    """Every environment of this worker is in use. One that is provisioned starts when one of them ends."""


class InitFailed(Exception):
    """The function's initialisation failed. Its log says why; correct the code and publish a new version."""


class Pool:
    """At most ``capacity`` environments. Whoever takes one has been given a slot before, so there is always room.

    Provisioned environments are *kept*: neither unused time nor another function's need of room ends them, and only who
    holds one of their slots takes them. ``monotonic`` is seconds. Stopping happens in the background: nobody waits for
    another function's environment to end.
    """

    def __init__(
        self,
        make: MakeEnvironment,
        *,
        capacity: int,
        idle_timeout: timedelta,
        monotonic: Callable[[], float],
        line: StartLine | None = None,
        most_age: timedelta = wear.MOST_AGE,
        on_closed: Callable[[], Awaitable[None]] | None = None,
        on_outdated: Callable[[str, str | None, str], None] = lambda function, version, key: None,
    ) -> None:
        """``line`` says who may start an environment on demand; without one, everybody may. What is older than
        ``most_age`` is replaced. ``on_closed`` is called when the last environment has ended, ``on_outdated`` when nothing
        will be started any more of a function's version, or of all of them, but what has this key.
        """
        self._on_closed = on_closed
        self._on_outdated = on_outdated
        self._most_age = most_age
        self._make = make
        self._line = line
        self._capacity = capacity
        self._idle_timeout_s = idle_timeout.total_seconds()
        self._monotonic = monotonic
        self._idle: dict[str, tuple[Environment, assignment.Seat]] = {}
        self._by_key: dict[tuple[str, bool], dict[str, None]] = {}
        """Idle environments by key, and by whether they are kept; the one used last is at the end."""
        self._kept: dict[str, Environment] = {}
        self._on_kept_lost: Callable[[], None] = lambda: None
        self._preparing = 0
        self._busy: dict[str, Environment] = {}
        self._busy_by_version: Counter[Versioned] = Counter()
        self._resting: dict[str, dict[asyncio.Task[None], None]] = {}
        """By key: those that have answered and are not free yet. They are busy."""
        self._current_key: dict[Versioned, str] = {}
        self._lost: dict[Versioned, str] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

    async def take(self, spec: EnvironmentSpec, *, kept: bool = False) -> Environment:
        """An environment of this spec, initialised; ``kept``: by right one of the provisioned ones.

        Raises ScalingLimited, and what making it raises: nothing is kept then.
        """
        versioned = spec.function, spec.version
        self._current_key[versioned] = spec.key
        ready = self._any_ready(spec.key, kept)
        if ready is None and spec.key in self._resting:
            await asyncio.wait(self._resting[spec.key], timeout=SHORT_REST_S, return_when=asyncio.FIRST_COMPLETED)
            ready = self._any_ready(spec.key, kept)
        if ready is not None:
            self._occupy(ready, versioned)
            return ready
        if self._line is not None and not self._line.take(spec.function):
            raise ScalingLimited
        environment = self._make(spec, self._make_room(spec, self._lost.pop(versioned, "")))
        self._occupy(environment, versioned)
        try:
            await environment.start()
        except BaseException:
            self._vacate(environment, versioned)
            self._dismiss(environment)
            raise
        return environment

    async def prepare(self, spec: EnvironmentSpec) -> None:
        """Start and initialise one more environment of this spec, and keep it.

        Raises NoRoom, InitFailed, and what making it raises: nothing is kept then.
        """
        versioned = spec.function, spec.version
        self._current_key[versioned] = spec.key
        # outdated ones would keep their room for ever, since nothing evicts them
        self._dismiss_idle(lambda seat: seat.kept and seat.versioned == versioned and seat.key != spec.key)
        if len(self) >= self._capacity and not any(not seat.kept for _, seat in self._idle.values()):
            raise NoRoom
        environment = self._make(replace(spec, initialization_type=PROVISIONED), self._make_room(spec, ""))
        self._preparing += 1
        try:
            await environment.start()
        except BaseException:
            self._dismiss(environment)
            raise
        finally:
            self._preparing -= 1
        if not environment.initialised:
            self._dismiss(environment)
            raise InitFailed
        self._kept[environment.environment_id] = environment
        self._keep(environment, versioned)

    async def start_allowed(self, function: str, timeout: timedelta) -> bool:
        """Wait, after ScalingLimited, until it is worth while to ask again; False when the time is over first."""
        return self._line is None or await self._line.wait(function, timeout)

    def on_kept_lost(self, callback: Callable[[], None]) -> None:
        """Called when a provisioned environment has ended by itself, or became outdated."""
        self._on_kept_lost = callback

    def kept(self, versioned: Versioned) -> int:
        """How many provisioned environments of the version's current code are initialised, in use or not."""
        key = self._current_key.get(versioned)
        return sum(one.key == key and one.state in LIVING for one in self._of(versioned))

    def keep_no_more_than(self, versioned: Versioned, number: int) -> None:
        """The surplus stops, idle ones first; one that is in use becomes an ordinary one."""
        surplus = sorted(self._of(versioned), key=lambda one: one.environment_id in self._busy)
        for environment in surplus[: max(0, len(surplus) - number)]:
            identity = environment.environment_id
            del self._kept[identity]
            if identity in self._idle:
                self._dismiss(self._leave_idle(identity)[0])

    def give_back(self, environment: Environment) -> asyncio.Task[None] | None:
        """Keep it for the next invocation, unless it is gone, outdated, or the pool is closing.

        Where an extension is still at work in it, it is in use until the task that is returned has ended.
        """
        versioned = environment.spec.function, environment.spec.version
        if not environment.resting:
            self._vacate(environment, versioned)
            self._keep(environment, versioned)
            return None
        task = asyncio.create_task(self._rest(environment, versioned))
        self._resting.setdefault(environment.key, {})[task] = None
        task.add_done_callback(lambda done: self._rested(environment.key, done))
        return task

    async def _rest(self, environment: Environment, versioned: Versioned) -> None:
        try:
            await environment.rest()
        except Exception:
            log.exception("an environment of %s did not come to rest", environment.spec.function)
        finally:
            self._vacate(environment, versioned)
            self._keep(environment, versioned)

    def _rested(self, key: str, done: asyncio.Task[None]) -> None:
        self._resting[key].pop(done)
        if not self._resting[key]:
            del self._resting[key]

    def _keep(self, environment: Environment, versioned: Versioned) -> None:
        if environment.state is not EnvironmentState.IDLE:
            if versioned in self._current_key:
                self._lost[versioned] = "crashed"
            self._dismiss(environment)
        elif self._closed or self._current_key.get(versioned) != environment.key:
            self._dismiss(environment)
        elif self._is_spent(environment):
            self._lost[versioned] = "recycled"
            self._dismiss(environment)
        else:
            identity = environment.environment_id
            kept = identity in self._kept
            seat = assignment.Seat(identity, versioned, environment.key, self._monotonic(), kept)
            self._idle[identity] = (environment, seat)
            self._by_key.setdefault((environment.key, kept), {})[identity] = None
            if self._line is not None and not kept:
                self._line.freed(environment.spec.function)

    def _is_spent(self, environment: Environment) -> bool:
        return environment.outgrown or environment.age > self._most_age

    def reap(self) -> None:
        """Stop what has been unused too long, has become too old, or died while idle."""
        seats = [seat for _, seat in self._idle.values()]
        overdue = set(assignment.expired(seats, now=self._monotonic(), idle_timeout_s=self._idle_timeout_s))
        dead = {i for i, (environment, _) in self._idle.items() if environment.state is not EnvironmentState.IDLE}
        spent = {i for i, (environment, _) in self._idle.items() if self._is_spent(environment)}
        for identity in overdue | dead | spent:
            environment, seat = self._leave_idle(identity)
            self._lost[seat.versioned] = "crashed" if identity in dead else "recycled"
            self._dismiss(environment)

    def renew(self, function: str, key: str, version: str = limits.LATEST) -> None:
        """From now on only ``key`` is current for this version: its idle environments of another key stop, busy ones
        afterwards."""
        versioned = function, version
        self._current_key[versioned] = key
        self._on_outdated(function, version, key)
        if self._dismiss_idle(lambda seat: seat.versioned == versioned and seat.key != key):
            self._lost[versioned] = "reload"

    def retire(self, function: str, version: str | None = None) -> None:
        """The version is gone, or with None the function and all its versions: idle environments stop now, busy ones
        afterwards."""
        for versioned in [v for v in {**self._current_key, **self._lost} if _among(v, function, version)]:
            self._current_key.pop(versioned, None)
            self._lost.pop(versioned, None)
        self._on_outdated(function, version, "")
        self._dismiss_idle(lambda seat: _among(seat.versioned, function, version))

    def _dismiss_idle(self, chosen: Callable[[assignment.Seat], bool]) -> int:
        identities = [i for i, (_, seat) in self._idle.items() if chosen(seat)]
        for identity in identities:
            self._dismiss(self._leave_idle(identity)[0])
        return len(identities)

    def _any_ready(self, key: str, kept: bool) -> Environment | None:
        return (self._ready(key, kept=True) if kept else None) or self._ready(key)

    def _ready(self, key: str, *, kept: bool = False) -> Environment | None:
        """The usual case: the most recently used one of this key. Those that died meanwhile are taken away."""
        while (idle := self._by_key.get((key, kept))) is not None:
            environment, seat = self._leave_idle(next(reversed(idle)))
            if environment.state is EnvironmentState.IDLE:
                return environment
            self._lost[seat.versioned] = "crashed"
            self._dismiss(environment)
        return None

    def _make_room(self, spec: EnvironmentSpec, lost: str) -> str:
        """Stop an environment where there are too many for one more; why the next one is cold."""
        versioned = spec.function, spec.version
        decision = assignment.decide(
            spec.key,
            versioned,
            [seat for _, seat in self._idle.values()],
            alive=len(self),
            capacity=self._capacity,
            lost=lost,
            busy=self._busy_by_version[versioned],
        )
        if decision.evict:
            self._dismiss(self._leave_idle(decision.evict)[0])
        return decision.cold_reason

    def _of(self, versioned: Versioned) -> list[Environment]:
        return [one for one in self._kept.values() if (one.spec.function, one.spec.version) == versioned]

    def _leave_idle(self, identity: str) -> tuple[Environment, assignment.Seat]:
        environment, seat = self._idle.pop(identity)
        same = self._by_key[seat.key, seat.kept]
        del same[identity]
        if not same:
            del self._by_key[seat.key, seat.kept]
        return environment, seat

    async def close(self) -> None:
        """Stop every environment, busy ones too. Idempotent."""
        self._closed = True
        for environment, _ in self._idle.values():
            self._dismiss(environment)
        for environment in self._busy.values():
            self._dismiss(environment)
        self._idle.clear()
        self._by_key.clear()
        resting = [task for same in self._resting.values() for task in same]
        if self._stopping or resting:
            await asyncio.gather(*self._stopping, *resting, return_exceptions=True)
        if self._on_closed is not None:
            await self._on_closed()

    def code_directories(self) -> set[str]:
        """Where the code and the layers of every living environment lie."""
        idle = (environment for environment, _ in self._idle.values())
        specs = [environment.spec for environment in (*idle, *self._busy.values())]
        return {spec.code_directory for spec in specs} | {
            spec.layers_directory for spec in specs if spec.layers_directory
        }

    def busy(self) -> dict[str, int]:
        """How many environments of each function run now."""
        return dict(Counter(environment.spec.function for environment in self._busy.values()))

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy) + self._preparing

    def _occupy(self, environment: Environment, versioned: Versioned) -> None:
        self._busy[environment.environment_id] = environment
        self._busy_by_version[versioned] += 1

    def _vacate(self, environment: Environment, versioned: Versioned) -> None:
        if self._busy.pop(environment.environment_id, None) is not None:
            self._busy_by_version[versioned] -= 1

    def _dismiss(self, environment: Environment) -> None:
        if self._kept.pop(environment.environment_id, None) is not None:
            self._on_kept_lost()
        task = asyncio.create_task(self._stop(environment))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    @staticmethod
    async def _stop(environment: Environment) -> None:
        try:
            await environment.stop(STOP_GRACE)
        except Exception:
            log.exception("an environment of %s did not stop in order", environment.spec.function)


def _among(versioned: Versioned, function: str, version: str | None) -> bool:
    return versioned[0] == function and version in (None, versioned[1])
