"""A transport for aiormq that takes the content frames of chosen channels for itself, and hands over all the rest.

aiormq does what happens seldom: handshake, TLS, heartbeats, declarations, consuming and cancelling. Deliveries, confirms,
returns and what answers ``basic.get`` go straight from the socket to a :class:`Sink`, without a task, a queue and an
object for each frame; what is sent is gathered and written once in each turn of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from struct import Struct
from typing import Any, Protocol, cast

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from broker.rabbitmq import wire

log = logging.getLogger(__name__)

_PREFIX = Struct(">BHI")
_METHOD_ID = Struct(">I")
_CONTENT_METHODS = frozenset((wire.DELIVER, wire.RETURN, wire.GET_OK))
_ANSWERS = frozenset((wire.ACK, wire.NACK, wire.GET_EMPTY))
_FRAME_TYPES = frozenset((1, 2, 3, 8))
_SIGN_OF_LIFE_S = 1.0


class Sink(Protocol):
    """What takes the frames of one channel. It must not raise and must not block."""

    def content(self, method: int, arguments: bytes, head: bytes, body: bytes) -> None:
        """A delivery, a returned message or the answer to a get; ``arguments`` follow the method id."""

    def settled(self, method: int, arguments: bytes) -> None:
        """An ack or nack of the broker, or an empty get."""

    def closed(self, reason: str) -> None:
        """The broker closes the channel. One more frame on it would cost the whole connection."""


class Ticket(Protocol):
    """Something that has frames to add before the next write."""

    def frames(self) -> bytes: ...


class _Content:
    __slots__ = ("arguments", "head", "method", "missing", "parts")

    def __init__(self, method: int, arguments: bytes) -> None:
        self.method = method
        self.arguments = arguments
        self.head = b""
        self.parts: list[bytes] = []
        self.missing = -1


class Tap(asyncio.StreamReaderProtocol):
    """One socket. ``on_blocked`` hears the reason when an alarm starts, and None when it is over."""

    def __init__(self, on_blocked: Callable[[str | None], None], on_lost: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader(loop=loop)
        super().__init__(self.reader, loop=loop)
        self.sinks: dict[int, Sink] = {}
        self.paused = False
        self._loop_ = loop
        self._on_blocked = on_blocked
        self._on_lost = on_lost
        self._socket: asyncio.Transport | None = None
        self._rest = b""
        self._contents: dict[int, _Content] = {}
        self._last_sign = 0.0
        self._out: list[bytes] = []
        self._tickets: dict[Ticket, None] = {}
        self._due = False
        self._room = asyncio.Event()
        self._room.set()

    def detach(self, channel: int, sink: Sink) -> None:
        """``sink`` takes no more; the number of its channel may belong to another by now."""
        if self.sinks.get(channel) is sink:
            del self.sinks[channel]

    # Sending

    def send(self, data: bytes) -> None:
        """Written at the end of this turn of the loop, after what was sent before. Dropped when the socket is gone."""
        self._out.append(data)
        if not self._due:
            self._due = True
            self._loop_.call_soon(self.flush)

    def stamp(self, ticket: Ticket) -> None:
        """Ask ``ticket`` for its frames before the next write."""
        self._tickets[ticket] = None
        if not self._due:
            self._due = True
            self._loop_.call_soon(self.flush)

    def flush(self) -> None:
        """Write now what is waiting."""
        self._due = False
        out, self._out = self._out, []
        if self._tickets:
            tickets, self._tickets = self._tickets, {}
            out.extend(ticket.frames() for ticket in tickets)
        if out and self._socket is not None and not self._socket.is_closing():
            self._socket.write(out[0] if len(out) == 1 else b"".join(out))

    def abort(self) -> None:
        """Close the socket at once, whatever the peer would still say."""
        if self._socket is not None:
            self._socket.abort()

    async def drained(self) -> None:
        """The peer keeps up again, or the socket is gone."""
        await self._room.wait()

    def pause_writing(self) -> None:
        self.paused = True
        self._room.clear()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.paused = False
        self._room.set()
        super().resume_writing()

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.sinks.clear()
        self._room.set()
        super().connection_lost(exc)
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data if self._rest else data
        position, end, handed, rest = 0, len(buffer), 0, []
        taken = False
        while end - position >= 8:
            kind, channel, size = _PREFIX.unpack_from(buffer, position)
            after = position + size + 8
            if kind not in _FRAME_TYPES:
                after = end
            elif after > end:
                break
            elif self._take(kind, channel, buffer[position + 7 : after - 1]):
                taken = True
                if handed < position:
                    rest.append(buffer[handed:position])
                handed = after
            position = after
        if handed < position:
            rest.append(buffer[handed:position])
        self._rest = buffer[position:]
        if taken:
            self._sign_of_life(rest)
        if rest:
            super().data_received(b"".join(rest))

    def _sign_of_life(self, rest: list[bytes]) -> None:
        # A broker that delivers all the time sends no heartbeat, and aiormq sees no delivery: it would think it dead.
        if (now := self._loop_.time()) - self._last_sign >= _SIGN_OF_LIFE_S:
            self._last_sign = now
            rest.append(wire.HEARTBEAT)

    def _take(self, kind: int, channel: int, payload: bytes) -> bool:
        if channel == 0:
            if kind == wire.METHOD:
                self._watch_alarm(payload)
            return False
        sink = self.sinks.get(channel)
        if sink is None:
            self._contents.pop(channel, None)
            return False
        if kind == wire.METHOD:
            return self._take_method(channel, sink, payload)
        content = self._contents.get(channel)
        if content is None:
            return False
        if kind == wire.HEADER:
            content.head = payload
            content.missing = int.from_bytes(payload[4:12], "big")
        else:
            content.parts.append(payload)
            content.missing -= len(payload)
        if content.missing <= 0:
            del self._contents[channel]
            parts = content.parts
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            sink.content(content.method, content.arguments, content.head, body)
        return True

    def _take_method(self, channel: int, sink: Sink, payload: bytes) -> bool:
        (method,) = _METHOD_ID.unpack_from(payload)
        if method in _CONTENT_METHODS:
            self._contents[channel] = _Content(method, payload[4:])
        elif method in _ANSWERS:
            sink.settled(method, payload[4:])
        else:
            if method == wire.CHANNEL_CLOSE:
                self.flush()
                sink.closed(wire.text(payload, 6)[0])
            return False
        return True

    def _watch_alarm(self, payload: bytes) -> None:
        (method,) = _METHOD_ID.unpack_from(payload)
        if method == wire.BLOCKED:
            self._on_blocked(wire.text(payload, 4)[0])
        elif method == wire.UNBLOCKED:
            self._on_blocked(None)


class TapFactory(TransportFactory):
    """Gives aiormq a stream whose other end is a :class:`Tap`, kept in ``tap``."""

    def __init__(self, on_blocked: Callable[[str | None], None], on_lost: Callable[[], None]) -> None:
        self._on_blocked = on_blocked
        self._on_lost = on_lost
        self.tap: Tap | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        provider = kwargs.pop("ssl_context_provider")
        context: ssl.SSLContext | None = await provider.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        tap = Tap(self._on_blocked, self._on_lost)
        try:
            transport, _ = await loop.create_connection(
                lambda: tap, str(url.host), url.port or 5672, ssl=context, **kwargs
            )
        except OSError as refused:
            raise AMQPConnectionError(*refused.args) from refused
        self.tap = tap
        return tap.reader, asyncio.StreamWriter(transport, tap, tap.reader, loop)
