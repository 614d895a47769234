"""Back-pressure of streamed replies: how many one replier may send before the asker has yielded more.

The asker tells how many replies it has yielded in all, not how many more: a word that gets lost is made good by the next.

>>> window = Window(2)
>>> window.sent = 2
>>> window.has_room
False
>>> window.allow(yielded=1)
>>> window.has_room
True
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from broker import names
from broker.errors import AskerGone, BrokerError
from broker.message import Headers


def size_of(headers: Headers) -> int:
    """The window that a request's headers ask for; zero when they ask for none."""
    size: Any = headers.get(names.WINDOW_HEADER)
    return size if isinstance(size, int) and size > 0 else 0


def step(size: int) -> int:
    """After how many yielded replies the asker tells the replier: half a window, so that it need not stop."""
    return max(1, size // 2)


class Window:
    """One stream of replies as its replier sees it. ``sent`` is counted by whoever sends."""

    __slots__ = ("_limit", "_size", "_waiters", "abandoned", "sent")

    def __init__(self, size: int) -> None:
        self.sent = 0
        self.abandoned = asyncio.Event()
        self._size = self._limit = size
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def has_room(self) -> bool:
        return self.sent < self._limit

    async def room(self) -> None:
        """Return when one more reply may be sent. Raises AskerGone, and whatever :meth:`fail` is given."""
        while not self.has_room and not self.abandoned.is_set():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)
        if self.abandoned.is_set():
            raise AskerGone

    def allow(self, yielded: int) -> None:
        """The asker has yielded so many replies in all. An older word that comes late takes nothing away."""
        self._limit = max(self._limit, yielded + self._size)
        self._wake(None)

    def abandon(self) -> None:
        """The asker wants no more. Idempotent."""
        self.abandoned.set()
        self._wake(None)

    def fail(self, error: BrokerError) -> None:
        """Whoever waits now gets the error; the window stays."""
        self._wake(error)

    def _wake(self, error: BrokerError | None) -> None:
        for waiter in self._waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
