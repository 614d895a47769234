"""Keep environments between invocations, and give each invocation one that is its own while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.worker import assignment
from fnrunner.worker.environment import Environment, EnvironmentState

log = logging.getLogger(__name__)

STOP_GRACE = timedelta(milliseconds=300)

MakeEnvironment = Callable[[EnvironmentSpec, str], Environment]
"""Makes an environment that has not started, from its spec and the reason why it is cold."""


class Pool:
    """At most ``capacity`` environments. Whoever takes one has been given a slot before, so there is always room.

    ``monotonic`` is seconds. Stopping happens in the background: nobody waits for another function's environment to end.
    """

    def __init__(
        self, make: MakeEnvironment, *, capacity: int, idle_timeout: timedelta, monotonic: Callable[[], float]
    ) -> None:
        self._make = make
        self._capacity = capacity
        self._idle_timeout_s = idle_timeout.total_seconds()
        self._monotonic = monotonic
        self._idle: dict[str, tuple[Environment, assignment.Seat]] = {}
        self._by_key: dict[str, dict[str, None]] = {}
        self._busy: dict[str, Environment] = {}
        self._busy_by_function: Counter[str] = Counter()
        self._current_key: dict[str, str] = {}
        self._lost: dict[str, str] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

    async def take(self, spec: EnvironmentSpec) -> Environment:
        """An environment of this spec, initialised. Raises what making it raises: nothing is kept then."""
        self._current_key[spec.function] = spec.key
        while (idle := self._by_key.get(spec.key)) is not None:
            # the usual case: the most recently used one of this key
            environment, _ = self._leave_idle(next(reversed(idle)))
            if environment.state is EnvironmentState.IDLE:
                self._occupy(environment, spec.function)
                return environment
            self._lost[spec.function] = "crashed"
            self._dismiss(environment)
        alive = len(self._idle) + len(self._busy)
        decision = assignment.decide(
            spec.key,
            spec.function,
            [seat for _, seat in self._idle.values()],
            alive=alive,
            capacity=self._capacity,
            lost=self._lost.pop(spec.function, ""),
            busy=self._busy_by_function[spec.function],
        )
        if decision.evict:
            self._dismiss(self._leave_idle(decision.evict)[0])
        environment = self._make(spec, decision.cold_reason)
        self._occupy(environment, spec.function)
        try:
            await environment.start()
        except BaseException:
            self._vacate(environment, spec.function)
            self._dismiss(environment)
            raise
        return environment

    def give_back(self, environment: Environment, function: str) -> None:
        """Keep it for the next invocation, unless it is gone, outdated, or the pool is closing."""
        self._vacate(environment, function)
        if environment.state is not EnvironmentState.IDLE:
            if function in self._current_key:
                self._lost[function] = "crashed"
            self._dismiss(environment)
        elif self._closed or self._current_key.get(function) != environment.key:
            self._dismiss(environment)
        else:
            identity = environment.environment_id
            seat = assignment.Seat(identity, function, environment.key, self._monotonic())
            self._idle[identity] = (environment, seat)
            self._by_key.setdefault(environment.key, {})[identity] = None

    def reap(self) -> None:
        """Stop what has been unused too long, and what died while idle."""
        seats = [seat for _, seat in self._idle.values()]
        overdue = set(assignment.expired(seats, now=self._monotonic(), idle_timeout_s=self._idle_timeout_s))
        dead = {i for i, (environment, _) in self._idle.items() if environment.state is not EnvironmentState.IDLE}
        for identity in overdue | dead:
            environment, seat = self._leave_idle(identity)
            self._lost[seat.function] = "crashed" if identity in dead else "recycled"
            self._dismiss(environment)

    def renew(self, function: str, key: str) -> None:
        """From now on only ``key`` is current: idle environments of another key stop, busy ones afterwards."""
        self._current_key[function] = key
        if self._dismiss_idle(lambda seat: seat.function == function and seat.key != key):
            self._lost[function] = "reload"

    def retire(self, function: str) -> None:
        """The function is gone: its idle environments stop now, busy ones afterwards."""
        self._current_key.pop(function, None)
        self._lost.pop(function, None)
        self._dismiss_idle(lambda seat: seat.function == function)

    def _dismiss_idle(self, chosen: Callable[[assignment.Seat], bool]) -> int:
        identities = [i for i, (_, seat) in self._idle.items() if chosen(seat)]
        for identity in identities:
            self._dismiss(self._leave_idle(identity)[0])
        return len(identities)

    def _leave_idle(self, identity: str) -> tuple[Environment, assignment.Seat]:
        environment, seat = self._idle.pop(identity)
        same = self._by_key[seat.key]
        del same[identity]
        if not same:
            del self._by_key[seat.key]
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
        if self._stopping:
            await asyncio.gather(*self._stopping, return_exceptions=True)

    def code_directories(self) -> set[str]:
        """Where the code of every living environment lies."""
        idle = (environment for environment, _ in self._idle.values())
        return {environment.spec.code_directory for environment in (*idle, *self._busy.values())}

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    def _occupy(self, environment: Environment, function: str) -> None:
        self._busy[environment.environment_id] = environment
        self._busy_by_function[function] += 1

    def _vacate(self, environment: Environment, function: str) -> None:
        if self._busy.pop(environment.environment_id, None) is not None:
            self._busy_by_function[function] -= 1

    def _dismiss(self, environment: Environment) -> None:
        task = asyncio.create_task(self._stop(environment))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    @staticmethod
    async def _stop(environment: Environment) -> None:
        try:
            await environment.stop(STOP_GRACE)
        except Exception:
            log.exception("an environment of %s did not stop in order", environment.spec.function)
