"""What a poller is played with: an invoker that follows a script, claims of one process, and letters that are kept."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sources.invocation import Answered, BatchCall, GivenUp, Result

PATIENCE_S = 30.0
Script = Callable[[list[dict[str, Any]]], Result | Awaitable[Result]]


def messages_of(payload: bytes) -> list[dict[str, Any]]:
    """The messages of an event, of whichever kind."""
    event = json.loads(payload)
    if "Records" in event:
        return list(event["Records"])
    (messages,) = event["rmqMessagesByQueue"].values()
    return list(messages)


def body_of(message: Mapping[str, Any]) -> str:
    return base64.b64decode(message["data"]).decode() if "data" in message else str(message["body"])


def count_of(message: Mapping[str, Any]) -> int:
    return int(message["attributes"]["ApproximateReceiveCount"])


class Stage:
    """Invoker: ``script`` answers; ``batches`` are the bodies of each invocation that was run, ``calls`` all messages."""

    def __init__(self) -> None:
        self.script: Script = lambda messages: Answered(b"{}")
        self.batches: list[list[str]] = []
        self.calls: list[list[dict[str, Any]]] = []
        self.running = self.most = 0
        self._news = asyncio.Condition()

    async def invoke(self, call: BatchCall) -> Result:
        messages = messages_of(call.payload)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            self.calls.append(messages)
            self.batches.append([body_of(message) for message in messages])
            async with self._news:
                self._news.notify_all()
            result = self.script(messages)
            return result if isinstance(result, Result) else await result
        finally:
            self.running -= 1
            async with self._news:
                self._news.notify_all()

    @property
    def bodies(self) -> list[str]:
        return [body for batch in self.batches for body in batch]

    def times(self) -> Counter[str]:
        return Counter(self.bodies)

    async def until(self, enough: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S), self._news:
                await self._news.wait_for(enough)
        except TimeoutError:
            raise AssertionError(f"still waiting after {PATIENCE_S} s; ran {self.batches[-30:]}") from None


class OneClaim:
    def __init__(self, claims: Claims, name: str) -> None:
        self._claims = claims
        self.name = name
        self.held = True
        self.wanted_elsewhere = False

    async def load(self) -> Mapping[str, Any]:
        return self._claims.documents.get(self.name, {})

    async def save(self, document: Mapping[str, Any]) -> None:
        self._claims.documents[self.name] = document
        self._claims.saves += 1

    async def release(self) -> None:
        self.held = False
        if self._claims.owners.get(self.name) is self:
            del self._claims.owners[self.name]


class Claims:
    """See :class:`sources.source.Claims`, within one process. ``error`` is raised while it is there."""

    def __init__(self) -> None:
        self.owners: dict[str, OneClaim] = {}
        self.documents: dict[str, Mapping[str, Any]] = {}
        self.saves = 0
        self.error: Exception | None = None

    async def acquire(self, name: str) -> OneClaim | None:
        if self.error is not None:
            raise self.error
        if name in self.owners:
            return None
        self.owners[name] = OneClaim(self, name)
        return self.owners[name]

    async def load(self, name: str) -> Mapping[str, Any]:
        return self.documents.get(name, {})

    async def forget(self, prefix: str) -> None:
        for name in [name for name in self.documents if name.startswith(prefix)]:
            del self.documents[name]

    def take_away(self, name: str) -> None:
        """As if another process had taken over."""
        self.owners.pop(name).held = False


class Letterbox:
    def __init__(self) -> None:
        self.given_up: list[GivenUp] = []
        self.error: Exception | None = None

    async def give_up(self, given_up: GivenUp) -> None:
        if self.error is not None:
            raise self.error
        self.given_up.append(given_up)


async def eventually(true: Callable[[], Awaitable[bool]], what: str = "") -> None:
    """Wait for a state outside that nobody signals."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_S
    while not await true():
        assert loop.time() < until, f"not true after {PATIENCE_S} s: {what}"
        await asyncio.sleep(0.02)
