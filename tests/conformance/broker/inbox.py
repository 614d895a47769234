"""Where a test collects what a consumer was given, and waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.broker import Delivery

PATIENCE_S = 20.0
"""Long enough for a busy machine: a test that works never waits this long."""

QUIET_S = 0.15
"""How long a test listens for what must not come."""


class Inbox:
    """An ``OnDelivery`` that keeps every delivery in the order it came."""

    def __init__(self) -> None:
        self.all: list[Delivery] = []
        self._fresh: asyncio.Queue[Delivery] = asyncio.Queue()

    def __call__(self, delivery: Delivery) -> None:
        self.all.append(delivery)
        self._fresh.put_nowait(delivery)

    async def next(self) -> Delivery:
        """The next one not taken yet. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._fresh.get()

    async def take(self, count: int) -> list[Delivery]:
        return [await self.next() for _ in range(count)]

    async def is_quiet(self) -> bool:
        """Nothing waits here, and nothing comes in a little while."""
        await asyncio.sleep(QUIET_S)
        return self._fresh.empty()


async def eventually(condition: Callable[[], bool]) -> None:
    """Return as soon as it holds. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)
