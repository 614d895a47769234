"""One thread that waits for descriptors and times, and calls back. Nothing of the library that takes long to import."""

from __future__ import annotations

import heapq
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Timer:
    """Made by ``call_later``."""

    __slots__ = ("cancelled", "what", "when")

    def __init__(self, when: float, what: Callable[[], None]) -> None:
        self.when, self.what, self.cancelled = when, what, False

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        self.cancelled = True


class Reactor:
    """Callbacks must not block. What a callback raises ends the process: there is nobody to go on for."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with what happened (``READ``, ``WRITE``, an error or a hang-up) while it lasts. 0 events: errors only."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Before the descriptor is closed. Harmless twice."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, seconds: float, what: Callable[[], None]) -> Timer:
        timer = Timer(time.monotonic() + seconds, what)
        heapq.heappush(self._timers, timer)
        return timer

    def close(self) -> None:
        """For who goes on without it."""
        self._epoll.close()

    def run(self) -> None:
        """For ever: the process is left from within a callback."""
        while True:
            self.turn(self._next_in())

    def turn(self, timeout: float) -> None:
        """Wait once, at most so many seconds (-1: without end), and call back."""
        for fd, events in self._epoll.poll(timeout):
            callback = self._callbacks.get(fd)  # an earlier callback may have forgotten it
            if callback is not None:
                callback(events)
        now = time.monotonic()
        while self._timers and (self._timers[0].cancelled or self._timers[0].when <= now):
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.what()

    def _next_in(self) -> float:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0].when - time.monotonic()) if self._timers else -1
