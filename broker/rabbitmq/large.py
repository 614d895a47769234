"""Large messages go to the socket one after the other, so that small ones pass between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

LARGE_BYTES = 256 * 1024


class OneAtATime:
    """``drained`` returns when the socket has taken what was sent, or is gone.

    Six answers of 6 MB handed over together would let whatever is sent next wait for 36 MB; so it waits for 6 at most.
    """

    def __init__(self, drained: Callable[[], Awaitable[None]]) -> None:
        self._drained = drained
        self._turn = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def turn(self, size_bytes: int) -> AsyncIterator[None]:
        """Send within it. A small message is sent at once, a large one when the last large one has left."""
        if size_bytes < LARGE_BYTES:
            yield
            return
        await self._turn.acquire()
        try:
            await self._drained()
            yield
        except BaseException:
            self._turn.release()
            raise
        leaving = asyncio.create_task(self._until_it_has_left(), name="rabbitmq large message")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _until_it_has_left(self) -> None:
        """Whoever sent it goes on at once; the next large one waits."""
        try:
            # it is written at the end of this turn of the loop
            await asyncio.sleep(0)
            await self._drained()
        finally:
            self._turn.release()
