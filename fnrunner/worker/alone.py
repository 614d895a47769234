"""A gate: many may pass together, or one alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class AloneGate:
    """Whoever wants to be alone waits until all others have left, and holds back those who come after.

    Passing with nobody waiting costs no switch of task.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._alone = asyncio.Lock()
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def pass_through(self, *, alone: bool) -> AsyncIterator[None]:
        if alone:
            async with self._alone:
                await self._empty.wait()
                yield
            return
        if self._alone.locked():
            async with self._alone:
                self._enter()
        else:
            self._enter()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    def _enter(self) -> None:
        self._inside += 1
        self._empty.clear()
