"""Whether the event loop of this process is late, measured by a timer that should fire four times a second."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import timedelta

from fnrunner.model.problem import Code, Problem

TICK_S = 0.25
LATE = timedelta(seconds=1)
"""A timer that fires later than this is worth saying."""

MEMORY = timedelta(seconds=4)
"""Two heartbeats: so long it is said."""


class Lateness:
    """``noted`` takes what a timer has found; ``start`` has one that does."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = deque()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._measure(), name="lateness of the event loop")

    async def close(self) -> None:
        """Idempotent."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait([task])

    def noted(self, late_s: float, now: float) -> None:
        """A timer that was due ``late_s`` ago fired at ``now``, in monotonic seconds."""
        while self._late and now - self._late[0][0] > MEMORY.total_seconds():
            self._late.popleft()
        if late_s > LATE.total_seconds():
            self._late.append((now, late_s))

    def problems(self, now: float) -> Iterable[Problem]:
        recent = [late for at, late in self._late if now - at <= MEMORY.total_seconds()]
        if recent:
            yield Problem(
                "process",
                f"the event loop was {max(recent):.1f} s late within the last {MEMORY.total_seconds():.0f} s",
                "Give the process more CPU, lower FNRUNNER_WORKER_CAPACITY, or start more processes",
                Code.LAGGING,
            )

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self.noted(loop.time() - due, loop.time())
