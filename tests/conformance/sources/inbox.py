"""An acceptor that remembers what it was offered and can be told to fail, for every test of a source."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from sources.source import SourceEvent

PATIENCE_S = 30.0
Fault = Callable[[SourceEvent], Exception | None]


class Inbox:
    """``offered`` is everything, ``accepted`` what was taken; ``fault`` decides what to raise; ``gate`` holds answers back."""

    def __init__(self) -> None:
        self.offered: list[SourceEvent] = []
        self.accepted: list[SourceEvent] = []
        self.fault: Fault = lambda event: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.running: Counter[str] = Counter()
        self.together = 0
        self._news = asyncio.Condition()

    async def accept(self, event: SourceEvent) -> str:
        self.offered.append(event)
        thing = thing_of(event)
        self.running[thing] += 1
        self.together = max(self.together, self.running[thing])
        try:
            await self._tell()
            await self.gate.wait()
            if (error := self.fault(event)) is not None:
                raise error
            self.accepted.append(event)
            return event.event_id
        finally:
            self.running[thing] -= 1
            await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until(self, enough: Callable[[], bool], patience: float = PATIENCE_S) -> None:
        """Wait until it is true, looking after every offer."""
        try:
            async with asyncio.timeout(patience), self._news:
                await self._news.wait_for(enough)
        except TimeoutError:
            raise AssertionError(f"still waiting after {patience} s; accepted: {self.seen()[-20:]}") from None

    async def has(self, *expected: tuple[str, str]) -> None:
        """Wait until each of these was accepted, as :meth:`seen` has them."""
        await self.until(lambda: not Counter(expected) - Counter(self.seen()))

    def seen(self) -> list[tuple[str, str]]:
        """What was accepted, as ``(Created or Removed, key)``."""
        return [seen(event) for event in self.accepted]

    def ids(self) -> list[str]:
        return [event.event_id for event in self.accepted]


def record(event: SourceEvent) -> dict[str, Any]:
    """The one record of the event."""
    (only,) = json.loads(event.payload)["Records"]
    return dict(only)


def seen(event: SourceEvent) -> tuple[str, str]:
    found = record(event)
    name = found["eventName"].removeprefix("Object").partition(":")[0]
    return name, unquote_plus(found["s3"]["object"]["key"])


def thing_of(event: SourceEvent) -> str:
    """What the event is about, for whom: such events must not run together."""
    return f"{event.function} {record(event)['s3']['object']['key']}"


async def eventually(true: Callable[[], bool], patience: float = PATIENCE_S) -> None:
    """Wait for a state that nobody signals."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while not true():
        assert loop.time() < until, f"not true after {patience} s"
        await asyncio.sleep(0.01)
