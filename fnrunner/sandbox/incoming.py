"""The pieces of a streamed answer between the control socket and whoever takes them. Pure but for one waiting reader.

::

    socket ─► Control ─► Held.put ─► [ at most 128 KiB and a frame ] ─► Held.deliver ─► on_chunk, one at a time
                 ▲                                  │
                 └──────────── pause, resume ───────┘

While ``on_chunk`` has not returned, at most so much is read ahead; then the socket fills and the function's write blocks.
Pieces that came meanwhile are joined: many small writes cost whoever is far away no more than a few large ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fnrunner.model import limits


class ChunkRefused(Exception):
    """Whoever takes the chunks takes no more. The text says why."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer. Only the first has a ``content_type``; only a first one may be empty."""

    data: bytes
    content_type: str = ""


OnChunk = Callable[[Chunk], Awaitable[None]]
"""Returns when it can take the next one. Raises ChunkRefused."""


class Tap(Protocol):
    """Where the pieces come from."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Incoming(Protocol):
    """What a connection does with the pieces of one answer."""

    def start(self, content_type: str) -> None: ...
    def put(self, data: bytes) -> None: ...


class Collected:
    """For a caller who wants the answer whole: keeps what fits into one, counts the rest.

    >>> collected = Collected(limit=3)
    >>> collected.put(b"ab"); collected.put(b"cd")
    >>> collected.whole is None, collected.size
    (True, 4)
    """

    def __init__(self, limit: int = limits.RESPONSE_PAYLOAD_BYTES) -> None:
        self.size = 0
        self._limit = limit
        self._data = bytearray()

    def start(self, content_type: str) -> None:
        """An answer that is given whole has no content type."""

    def put(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= self._limit:
            self._data += data
        else:
            self._data.clear()

    @property
    def whole(self) -> bytes | None:
        """The answer, or None when it is too large for one."""
        return bytes(self._data) if self.size <= self._limit else None


class Held:
    """For a caller who takes the answer in pieces."""

    def __init__(self, tap: Tap, chunk_bytes: int = limits.STREAMED_CHUNK_BYTES) -> None:
        self._tap = tap
        self._chunk_bytes = chunk_bytes
        self._data = bytearray()
        self._content_type = ""
        self._begun = self._ended = self._dropping = False
        self._changed = asyncio.Event()

    def start(self, content_type: str) -> None:
        self._content_type = content_type
        self._begun = True

    def put(self, data: bytes) -> None:
        if self._dropping:
            return
        self._data += data
        self._changed.set()
        if len(self._data) >= self._chunk_bytes:
            self._tap.pause()

    def end(self) -> None:
        """Nothing more comes: ``deliver`` returns after the last piece."""
        self._ended = True
        self._changed.set()

    def drop(self) -> None:
        """Nobody wants what is here or what still comes; the function must not block on it."""
        self._dropping = True
        self._data.clear()
        self._tap.resume()

    async def deliver(self, on_chunk: OnChunk) -> None:
        """Hand over everything in order; a stream without content is one empty chunk. Raises what ``on_chunk`` raises."""
        first = True
        while not (self._ended and not self._data):
            if not self._data:
                self._changed.clear()
                await self._changed.wait()
                continue
            await on_chunk(self._take())
            first = False
        if first and self._begun:
            await on_chunk(self._take())

    def _take(self) -> Chunk:
        data = bytes(memoryview(self._data)[: self._chunk_bytes])
        del self._data[: self._chunk_bytes]
        if len(self._data) < self._chunk_bytes:
            self._tap.resume()
        content_type, self._content_type = self._content_type, ""
        return Chunk(data, content_type)
