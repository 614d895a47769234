"""One HTTP connection, with the limits that uvicorn leaves to whatever stands before it; here nothing may stand before it.

| Client | What happens |
|---|---|
| sends no request, or half a head | the connection ends a minute after it, or the head, began |
| stops in the middle of a body | the connection ends after a minute of silence; the application hears of it |
| has a URL or headers without end | 414 or 431, and the connection ends: nothing more is kept of them |
| does not take its response | the connection ends when not a byte of it could be sent for five minutes |
| speaks HTTP/1.0 | a body of unknown length ends with the connection, since it knows no chunks |

Each connection holds at most a head of 64 KB, what the application has not read of a body (64 KB), and what the client has
not taken of a response. Others are not affected by any of it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from datetime import timedelta
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

URL_BYTES = 16 * 1024
HEAD_BYTES = 64 * 1024
UNKNOWN_LENGTH = 1 << 62
_RESET = struct.pack("ii", 1, 0)


class _HeadTooLarge(Exception):
    """The request's head is larger than any that is meant well."""


class Connection(HttpToolsProtocol):
    """Give it to uvicorn as ``http``. ``patience`` is for requests, ``stall`` for responses that nobody takes."""

    patience = timedelta(seconds=60)
    stall = timedelta(minutes=5)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._watch: asyncio.TimerHandle | None = None
        self._heard = self._moved = 0.0
        self._unsent = 0
        self._in_head = True
        self._progress = 0
        self._without_progress = 0
        self._refusal = b""
        self._served: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._heard = self._moved = self.loop.time()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if (served := self._served) is not None and not served.response_complete:
            # uvicorn tells the last request only, which may be one that waits behind this
            served.disconnected = True
            served.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._in_head:
            self._heard = self.loop.time()
        before = self._progress
        super().data_received(data)
        if self._progress != before:
            self._without_progress = 0
            return
        # a head, a chunk's extension or a trailer that does not end: the parser keeps it all
        self._without_progress += len(data)
        if self._without_progress > HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        self._in_head = True
        self._progress += 1
        self._heard = self.loop.time()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # what comes after the body is no header of the request, whatever a client writes there
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._progress += 1
        if len(self.url) > URL_BYTES:
            self._refusal = b"414 URI Too Long"
            raise _HeadTooLarge
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES:
            self._refusal = b"431 Request Header Fields Too Large"
            raise _HeadTooLarge
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progress += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress += 1
        super().on_message_complete()

    def resume_writing(self) -> None:
        self._moved = self.loop.time()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or b"400 Bad Request")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        old = cycle.scope["http_version"] == "1.0"
        served: Any = _ending_with_the_connection(app, cycle) if old else app
        super()._start_asgi_task(cycle, served)

    def _refuse(self, status: bytes) -> None:
        """The connection cannot be used any more: what follows on it has no known beginning."""
        if self.transport.is_closing():
            return
        if self.pipeline or (self._running() and (self.cycle.response_started or not self.cycle.more_body)):
            # whatever is written now would be taken for the answer to the request before
            self.transport.abort()
            return
        body = b'{"message":"%s"}' % status[4:]
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, len(body), body)
        )
        self.transport.close()

    def _look_later(self) -> None:
        self._watch = self.loop.call_later(min(self.patience, self.stall).total_seconds() / 4, self._look)

    def _look(self) -> None:
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        blocked = self.flow.write_paused or self.transport.is_closing()
        if not blocked or unsent < self._unsent:
            self._moved = now
        self._unsent = unsent
        if now - self._moved >= self.stall.total_seconds():
            self.transport.abort()
        elif self._waits_for_the_client() and now - self._heard >= self.patience.total_seconds():
            if self._running():
                self.transport.abort()
            else:
                self._refuse(b"408 Request Timeout")
        self._look_later()

    def _running(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _waits_for_the_client(self) -> bool:
        """Whether nobody but the client keeps a request from being complete.

        Between requests uvicorn's own timeout is at work.
        """
        if self.transport.is_closing() or self.flow.read_paused or self.timeout_keep_alive_task is not None:
            return False
        return self.cycle.more_body if self._running() else True


def _ending_with_the_connection(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """The application for a client of HTTP/1.0: a body of unknown length is everything up to the end of the connection."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        complete = False

        async def sent(message: Message) -> None:
            nonlocal complete
            if message["type"] == "http.response.start":
                if not any(name == b"content-length" for name, _ in message.get("headers", ())):
                    # uvicorn counts a known length instead of beginning chunks
                    cycle.chunked_encoding, cycle.expected_content_length = False, UNKNOWN_LENGTH
            elif not message.get("more_body", False):
                complete = True
                if cycle.expected_content_length > UNKNOWN_LENGTH // 2:
                    cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, sent)
        if not complete and cycle.response_started:
            # a plain end would look like the end of the body: this one is a reset
            cycle.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            cycle.transport.abort()

    return served
