"""An acceptor that keeps what it was offered and can be told to fail, and a wall clock that tests set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sources.source import SourceEvent

PATIENCE_S = 30.0


class Taken:
    """``fault`` decides what to raise for an event; ``gate`` holds answers back."""

    def __init__(self) -> None:
        self.offered: list[SourceEvent] = []
        self.accepted: list[SourceEvent] = []
        self.fault: Callable[[SourceEvent], Exception | None] = lambda event: None
        self.gate = asyncio.Event()
        self.gate.set()

    async def accept(self, event: SourceEvent) -> str:
        self.offered.append(event)
        await self.gate.wait()
        if (error := self.fault(event)) is not None:
            raise error
        self.accepted.append(event)
        return event.event_id

    def ids(self) -> list[str]:
        return [event.event_id for event in self.accepted]


class WallClock:
    """It stands still until it is set."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


async def eventually(true: Callable[[], object], patience: float = PATIENCE_S) -> None:
    """Wait for a state that nobody signals."""
    try:
        async with asyncio.timeout(patience):
            while not true():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not true after {patience} s") from None


async def settled(looks: int = 10, step: timedelta = timedelta(milliseconds=5)) -> None:
    """Give a source that looks at the clock every ``step`` the time for that many looks, for what must not happen."""
    await asyncio.sleep(looks * step.total_seconds())
