"""A gate: many may pass together, or one alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class NotAlone(Exception):
    """The others did not leave in time. Come back later."""


class AloneGate:
    """Whoever wants to be alone waits until all others have left, and holds back those who come after.

    It waits at most ``patience`` seconds: what runs long must not keep the gate closed for everybody. Passing with nobody
    waiting costs no switch of task.
    """

    def __init__(self, patience_s: float = 20.0) -> None:
        self._patience_s = patience_s
        self._inside = 0
        self._alone = asyncio.Lock()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def closed(self) -> bool:
        """Somebody is alone, or waits to be."""
        return self._alone.locked()

    @asynccontextmanager
    async def pass_through(self, *, alone: bool) -> AsyncIterator[None]:
        """Raises NotAlone."""
        if alone:
            async with self._alone:
                try:
                    async with asyncio.timeout(self._patience_s):
                        await self._empty.wait()
                except TimeoutError as error:
                    raise NotAlone from error
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
