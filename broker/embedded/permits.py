"""Counted rights shared by all clients of one hub, kept in memory: when the process dies, all holders died with it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta


class Counter:
    """The permits of one name. The urgent ones first, and then first come, first served."""

    def __init__(self) -> None:
        self.total = 0
        self.held = 0
        self._generation = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    def resize(self, total: int, generation: int) -> None:
        """Shrinking takes effect as held permits are released. What is older than the last change is passed over."""
        if generation < self._generation:
            return
        self.total, self._generation = total, generation
        self._grant()

    def give_back(self) -> None:
        self.held -= 1
        self._grant()

    async def take(self, timeout: timedelta, *, urgent: bool) -> bool:
        """Whether one was taken in time; zero takes only what is free now."""
        line = self._urgent if urgent else self._others
        if self.held < self.total:
            self.held += 1
            return True
        if timeout <= timedelta(0):
            return False
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(waiter)
        try:
            await asyncio.wait([waiter], timeout=timeout.total_seconds())
        except asyncio.CancelledError:
            self._leave(line, waiter)
            raise
        if waiter.done():
            return True
        self._leave(line, waiter)
        return False

    def _leave(self, line: deque[asyncio.Future[None]], waiter: asyncio.Future[None]) -> None:
        if waiter.done():
            self.give_back()  # it was granted in the moment of giving up
        else:
            waiter.cancel()
            line.remove(waiter)

    def _grant(self) -> None:
        while self.held < self.total and (line := self._urgent or self._others):
            line.popleft().set_result(None)
            self.held += 1


class HeldPermit:
    """See :class:`broker.broker.Permit`."""

    __slots__ = ("_counter", "_forget", "lost", "valid")

    def __init__(self, counter: Counter, forget: Callable[[HeldPermit], None]) -> None:
        self._counter, self._forget, self.valid = counter, forget, True
        self.lost = asyncio.Event()

    async def release(self) -> None:
        """Idempotent."""
        if self.valid:
            self._forget(self)
            self.valid = False
            self._counter.give_back()

    def lose(self) -> None:
        """The client that held it is closed."""
        self.valid = False
        self.lost.set()
        self._counter.give_back()


class ClientPermits:
    """See :class:`broker.broker.Permits`: one client's view of a counter; what it holds ends with the client.

    ``counter`` raises Closed when the client is closed.
    """

    def __init__(self, counter: Callable[[], Counter], held: set[HeldPermit]) -> None:
        self._counter, self._held = counter, held

    async def resize(self, total: int, generation: int = 0) -> None:
        if total < 0:
            raise ValueError("there cannot be fewer than zero permits")
        self._counter().resize(total, generation)

    async def acquire(self, timeout: timedelta, *, urgent: bool = False) -> HeldPermit | None:
        counter = self._counter()
        if not await counter.take(timeout, urgent=urgent):
            return None
        try:
            self._counter()
        except BaseException:
            counter.give_back()  # the client was closed while it waited
            raise
        permit = HeldPermit(counter, self._held.discard)
        self._held.add(permit)
        return permit
