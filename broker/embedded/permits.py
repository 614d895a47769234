"""Counted rights shared by all clients of one hub, kept in memory: when the process dies, all holders died with it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta


class Counter:
    """The permits of one name. First come, first served; nobody overtakes one who waits."""

    def __init__(self) -> None:
        self.total = 0
        self.held = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    def resize(self, total: int) -> None:
        """Shrinking takes effect as held permits are released."""
        self.total = total
        self._grant()

    def give_back(self) -> None:
        self.held -= 1
        self._grant()

    async def take(self, timeout: timedelta) -> bool:
        """Whether one was taken in time; zero takes only what is free now."""
        if self.held < self.total:
            self.held += 1
            return True
        if timeout <= timedelta(0):
            return False
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await asyncio.wait([waiter], timeout=timeout.total_seconds())
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        if waiter.done():
            return True
        self._leave(waiter)
        return False

    def _leave(self, waiter: asyncio.Future[None]) -> None:
        if waiter.done():
            self.give_back()  # it was granted in the moment of giving up
        else:
            waiter.cancel()
            self._waiters.remove(waiter)

    def _grant(self) -> None:
        while self._waiters and self.held < self.total:
            self._waiters.popleft().set_result(None)
            self.held += 1


class HeldPermit:
    """See :class:`broker.broker.Permit`."""

    __slots__ = ("_counter", "_forget", "valid")

    def __init__(self, counter: Counter, forget: Callable[[HeldPermit], None]) -> None:
        self._counter, self._forget, self.valid = counter, forget, True

    async def release(self) -> None:
        """Idempotent."""
        if self.valid:
            self._forget(self)
            self.lose()

    def lose(self) -> None:
        """The client that held it is closed."""
        self.valid = False
        self._counter.give_back()


class ClientPermits:
    """See :class:`broker.broker.Permits`: one client's view of a counter; what it holds ends with the client.

    ``counter`` raises Closed when the client is closed.
    """

    def __init__(self, counter: Callable[[], Counter], held: set[HeldPermit]) -> None:
        self._counter, self._held = counter, held

    async def resize(self, total: int) -> None:
        if total < 0:
            raise ValueError("there cannot be fewer than zero permits")
        self._counter().resize(total)

    async def acquire(self, timeout: timedelta) -> HeldPermit | None:
        counter = self._counter()
        if not await counter.take(timeout):
            return None
        try:
            self._counter()
        except BaseException:
            counter.give_back()  # the client was closed while it waited
            raise
        permit = HeldPermit(counter, self._held.discard)
        self._held.add(permit)
        return permit
