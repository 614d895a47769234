"""The right to run, asked for by the pipeline before each invocation and given back after it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from types import MappingProxyType
from typing import Protocol

from fnrunner.concurrency.accounting import Shortage, Slots
from fnrunner.model.invocation import Throttled, ThrottleReason

NO_WAIT = timedelta(0)
_THROTTLED = {
    Shortage.CAP: Throttled(ThrottleReason.RESERVED),
    Shortage.CAPACITY: Throttled(ThrottleReason.CAPACITY),
}


class Lease(Protocol):
    """The right to run one invocation."""

    @property
    def valid(self) -> bool:
        """False once the right has been given back, or lost with the connection that held it."""

    async def release(self) -> None:
        """Give it back. Idempotent."""


class ConcurrencyGate(Protocol):
    """Who may run: within one process (:class:`LocalPermits`), or over all workers where permits live on the broker."""

    async def acquire(self, function: str, wait: timedelta = NO_WAIT) -> Lease | Throttled:
        """A lease, waiting for one at most ``wait``; Throttled with the reason when there is none by then."""

    async def set_cap(self, function: str, cap: int | None) -> None:
        """The function's reserved concurrency has changed; None lifts it, 0 stops the function. What runs goes on."""


class LocalLease:
    """One slot of a :class:`LocalPermits`."""

    __slots__ = ("_function", "_permits")

    def __init__(self, permits: LocalPermits, function: str) -> None:
        self._permits: LocalPermits | None = permits
        self._function = function

    @property
    def valid(self) -> bool:
        return self._permits is not None

    async def release(self) -> None:
        self.give_back()

    def give_back(self) -> None:
        """As ``release``, for callers that cannot wait. Idempotent."""
        permits, self._permits = self._permits, None
        if permits is not None:
            permits._give_back(self._function)


class LocalPermits:
    """Slots of this process on its event loop. Nothing here blocks and nothing needs a lock."""

    def __init__(self, capacity: int, caps: Mapping[str, int] = MappingProxyType({})) -> None:
        self._slots = Slots(capacity, caps)
        self._tickets = count()
        self._waiters: dict[int, tuple[str, asyncio.Future[bool]]] = {}

    @property
    def slots(self) -> Slots:
        """The accounting, to look at."""
        return self._slots

    async def acquire(self, function: str, wait: timedelta = NO_WAIT) -> LocalLease | Throttled:
        if self._slots.take(function):
            return LocalLease(self, function)
        if wait <= NO_WAIT or self._slots.cap_of(function) == 0:
            return self._refusal(function)
        return await self._stand_in_line(function, wait)

    async def set_cap(self, function: str, cap: int | None) -> None:
        self._wake(self._slots.set_cap(function, cap))
        if cap == 0:
            self._wake(self._slots.refuse(function), granted=False)

    def resize(self, capacity: int) -> None:
        """Change how many may run at once in this process."""
        self._wake(self._slots.resize(capacity))

    async def _stand_in_line(self, function: str, wait: timedelta) -> LocalLease | Throttled:
        loop = asyncio.get_running_loop()
        ticket = next(self._tickets)
        granted: asyncio.Future[bool] = loop.create_future()
        self._waiters[ticket] = function, granted
        self._slots.wait(function, ticket)
        timer = loop.call_later(wait.total_seconds(), self._give_up, function, ticket)
        try:
            return LocalLease(self, function) if await granted else self._refusal(function)
        except asyncio.CancelledError:
            # Cancelled in the instant of the grant: the slot is counted as ours and nobody else would free it.
            if granted.done() and not granted.cancelled() and granted.result():
                self._give_back(function)
            raise
        finally:
            timer.cancel()
            self._waiters.pop(ticket, None)
            self._slots.withdraw(function, ticket)

    def _give_up(self, function: str, ticket: int) -> None:
        if self._slots.withdraw(function, ticket):
            self._wake((ticket,), granted=False)

    def _give_back(self, function: str) -> None:
        self._wake(self._slots.give_back(function))

    def _wake(self, tickets: tuple[int, ...], *, granted: bool = True) -> None:
        for ticket in tickets:
            function, waiter = self._waiters.pop(ticket)
            if not waiter.done():
                waiter.set_result(granted)
            elif granted:
                # Cancelled, and its task has not run since: the slot goes to the next one.
                self._give_back(function)

    def _refusal(self, function: str) -> Throttled:
        return _THROTTLED[self._slots.shortage(function) or Shortage.CAPACITY]
