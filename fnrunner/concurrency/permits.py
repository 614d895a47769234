"""The right to run, asked for by the pipeline before each invocation and given back after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    Shortage.UNRESERVED: Throttled(ThrottleReason.CAPACITY),
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long somebody waits: for ``room`` in the process, and for a ``turn`` under the function's own cap.

    Of those who wait for a turn the ``urgent`` ones come first.
    """

    room: timedelta = NO_WAIT
    turn: timedelta = NO_WAIT
    urgent: bool = False


class Lease(Protocol):
    """The right to run one invocation."""

    @property
    def own_version(self) -> str:
        """Set where it is a slot of that version's provisioned environments."""

    @property
    def valid(self) -> bool:
        """False once the right has been given back, or lost with the connection that held it."""

    @property
    def lost(self) -> asyncio.Event | None:
        """Set when the right has gone and nobody gave it back: what runs must stop at once. None where that cannot be."""

    async def release(self) -> None:
        """Give it back. Idempotent."""


class ConcurrencyGate(Protocol):
    """Who may run, over all workers: :class:`~fnrunner.concurrency.fleet.FleetGate`."""

    async def acquire(self, function: str, patience: Patience, version: str = "") -> Lease | Throttled:
        """A lease, or Throttled with the reason when there is none in time. Raises BrokerError.

        ``version``: it may run in a provisioned environment of this one, which it prefers.
        """

    async def set_cap(self, function: str, cap: int | None, generation: int) -> None:
        """The function's reserved concurrency has changed; None lifts it, 0 stops the function. What runs goes on.

        ``generation`` grows with each change of any cap, so that of two processes the one that knows more is believed.
        """

    async def close(self) -> None:
        """Nobody acquires any more; leases that are out can still be released."""


class LocalLease:
    """One slot of a :class:`LocalPermits`. ``own_version`` is set where it is one of that version's provisioned
    environments."""

    __slots__ = ("_function", "_permits", "own_version")

    def __init__(self, permits: LocalPermits, function: str, own_version: str = "") -> None:
        self._permits: LocalPermits | None = permits
        self._function = function
        self.own_version = own_version

    @property
    def valid(self) -> bool:
        return self._permits is not None

    @property
    def lost(self) -> None:
        """A slot of this process goes only with the process."""

    async def release(self) -> None:
        self.give_back()

    def give_back(self) -> None:
        """As ``release``, for callers that cannot wait. Idempotent."""
        permits, self._permits = self._permits, None
        if permits is not None:
            permits._give_back(self._function, self.own_version)


class LocalPermits:
    """Slots of this process on its event loop. Nothing here blocks and nothing needs a lock."""

    def __init__(self, capacity: int, caps: Mapping[str, int] = MappingProxyType({}), *, newcomers: int = 0) -> None:
        """As :class:`~fnrunner.concurrency.accounting.Slots`."""
        self._slots = Slots(capacity, caps, newcomers=newcomers)
        self._tickets = count()
        self._waiters: dict[int, tuple[str, str, asyncio.Future[bool]]] = {}
        self._exclusive: Mapping[str, frozenset[str]] = MappingProxyType({})

    @property
    def slots(self) -> Slots:
        """The accounting, to look at."""
        return self._slots

    async def acquire(self, function: str, wait: timedelta = NO_WAIT, version: str = "") -> LocalLease | Throttled:
        """``version``: it may run in a provisioned environment of this one, which it prefers."""
        if self._exclusive and version not in self._exclusive.get(function, (version,)):
            return _THROTTLED[Shortage.CAP]
        if version and self._slots.take_own(function, version):
            return LocalLease(self, function, version)
        if self._slots.take(function):
            return LocalLease(self, function)
        if wait <= NO_WAIT or self._slots.cap_of(function) == 0:
            return self._refusal(function)
        return await self._stand_in_line(function, wait, version)

    async def set_cap(self, function: str, cap: int | None) -> None:
        self._wake(self._slots.set_cap(function, cap))
        if cap == 0:
            self._wake(self._slots.refuse(function), granted=False)

    def resize(self, capacity: int) -> None:
        """Change how many may run at once in this process."""
        self._wake(self._slots.resize(capacity))

    def set_reserved(self, functions: Iterable[str]) -> None:
        """These have a reservation: what of them runs does not count against this process's share."""
        self._wake(self._slots.set_reserved(functions))

    def set_exclusive(self, versions: Mapping[str, frozenset[str]]) -> None:
        """Functions whose whole reservation is provisioned, with the only versions that may run. What waits goes on."""
        self._exclusive = versions

    def limit_unreserved(self, limit: int | None) -> None:
        """This process's share of the account's pool; None: only the capacity limits it."""
        self._wake(self._slots.limit_unreserved(limit))

    def hold_back(self, number: int) -> None:
        """Keep so much of the capacity for provisioned environments."""
        self._wake(self._slots.hold_back(number))

    def set_own(self, function: str, version: str, ready: int) -> None:
        """So many provisioned environments of the version are ready here."""
        self._wake(self._slots.set_own(function, version, ready))

    async def _stand_in_line(self, function: str, wait: timedelta, version: str) -> LocalLease | Throttled:
        loop = asyncio.get_running_loop()
        ticket = next(self._tickets)
        granted: asyncio.Future[bool] = loop.create_future()
        self._waiters[ticket] = function, version, granted
        self._slots.wait(function, ticket, version)
        timer = loop.call_later(wait.total_seconds(), self._give_up, function, ticket)
        try:
            if not await granted:
                return self._refusal(function)
            return LocalLease(self, function, version if self._slots.was_own(ticket) else "")
        except asyncio.CancelledError:
            # Cancelled in the instant of the grant: the slot is counted as ours and nobody else would free it.
            if granted.done() and not granted.cancelled() and granted.result():
                self._give_back(function, version if self._slots.was_own(ticket) else "")
            raise
        finally:
            timer.cancel()
            self._waiters.pop(ticket, None)
            self._slots.withdraw(function, ticket)

    def _give_up(self, function: str, ticket: int) -> None:
        if self._slots.withdraw(function, ticket):
            self._wake((ticket,), granted=False)

    def _give_back(self, function: str, own_version: str) -> None:
        if own_version:
            self._wake(self._slots.give_back_own(function, own_version))
        else:
            self._wake(self._slots.give_back(function))

    def _wake(self, tickets: tuple[int, ...], *, granted: bool = True) -> None:
        for ticket in tickets:
            function, version, waiter = self._waiters.pop(ticket)
            if not waiter.done():
                waiter.set_result(granted)
            elif granted:
                # Cancelled, and its task has not run since: the slot goes to the next one.
                self._give_back(function, version if self._slots.was_own(ticket) else "")

    def _refusal(self, function: str) -> Throttled:
        return _THROTTLED[self._slots.shortage(function) or Shortage.CAPACITY]
