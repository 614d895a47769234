"""Who may start an environment now, and the line of those who may not yet: they wait without a slot.

::

    no environment stands ready ──► take: a token ──► start
                                      │ none
                                      └──► wait: until a token is back, or an environment of the function is free again
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from fnrunner.concurrency.scaling import Starts

SOONEST_S = 0.01


class ScalingLimited(Exception):
    """The function may not get a new environment now. It gets one when its scaling rate allows it."""


class StartLine:
    """One for each worker process, on its event loop. ``monotonic`` is seconds."""

    def __init__(self, starts: Starts, monotonic: Callable[[], float]) -> None:
        self._starts = starts
        self._monotonic = monotonic
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def divide(self, workers: int) -> None:
        """So many workers live now, and share the rate."""
        self._starts.divide(workers)

    def take(self, function: str) -> bool:
        """Whether an environment may be started now; then it is counted."""
        return self._starts.take(function, self._monotonic())

    def freed(self, function: str) -> None:
        """An environment of the function stands ready: the first one in line may have it."""
        if function in self._lines:
            self._let_go(function, 1)

    async def wait(self, function: str, timeout: timedelta) -> bool:
        """Until it is worth while to try again; False when the time is over first. First come, first served."""
        if timeout <= timedelta(0):
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(function, deque()).append(turn)
        self._set_timer(function)
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await turn
        except TimeoutError:
            return turn.done() and not turn.cancelled()
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # its turn goes to the next one
                self.freed(function)
            raise
        finally:
            self._leave(function, turn)
        return True

    def _come_round(self, function: str) -> None:
        del self._timers[function]
        if self._starts.next_in_s(function, self._monotonic()) <= 0:
            self._let_go(function, self._starts.left(function, self._monotonic()))
        self._set_timer(function)

    def _let_go(self, function: str, number: int) -> None:
        line = self._lines.get(function, ())
        for turn in [turn for turn in line if not turn.done()][:number]:
            turn.set_result(None)

    def _set_timer(self, function: str) -> None:
        if function in self._timers or function not in self._lines:
            return
        # never sooner: whoever was let go needs a moment to take the token
        delay = max(SOONEST_S, math.nextafter(self._starts.next_in_s(function, self._monotonic()), math.inf))
        self._timers[function] = asyncio.get_running_loop().call_later(delay, self._come_round, function)

    def _leave(self, function: str, turn: asyncio.Future[None]) -> None:
        line = self._lines[function]
        line.remove(turn)
        if not line:
            del self._lines[function]
            if (timer := self._timers.pop(function, None)) is not None:
                timer.cancel()
