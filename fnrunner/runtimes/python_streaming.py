"""Inside the environment: an answer that is sent in pieces while the handler makes it. Loaded by the bootstrap when the
first handler streams, so that others do not pay for it.

A handler streams when it returns a generator, an asynchronous generator or another iterator of bytes or str, or when it is
wrapped by ``awslambda.streamify_response``. A write returns when the worker's end of the socket has room: a reader that is
slow holds the handler back. When whoever asked has gone, the next write raises BrokenPipeError and a generator is closed
where it stands. Runs on Python 3.9 and later with nothing but the standard library.
"""

from __future__ import annotations

import os
import select
from threading import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from typing import Any, Protocol

    class Control(Protocol):
        fd: int
        abandoned: bool
        pending: bytes

        def header(self, kind: int, sequence: int, payload_size: int) -> bytes: ...
        def cancels(self, head: bytes, sequence: int) -> bool: ...


STREAM_START, CHUNK = 8, 9
HEADER_SIZE = 13
FRAME_BYTES = 65536
CONTENT_TYPE_CHARS = 256
DEFAULT_CONTENT_TYPE = "application/octet-stream"
DISCONNECTED = "The client has disconnected: nobody takes the rest of this response"


class ResponseStream:
    """What a streaming handler writes to. It may be written to from any thread of the process that was asked."""

    def __init__(self, control: Control, sequence: int) -> None:
        self.started = self.ended = self.gone = False
        self._control, self._sequence = control, sequence
        self._content_type = ""
        self._prelude = b""
        self._lock = Lock()
        self._poll = select.poll()
        self._poll.register(control.fd, select.POLLIN | select.POLLOUT)

    def set_content_type(self, content_type: str) -> None:
        """Set the response's content type. Raises ValueError once something was written, or for what is no header."""
        if self.started:
            raise ValueError("the content type must be set before the first write")
        if not 0 < len(content_type) <= CONTENT_TYPE_CHARS or not (
            content_type.isascii() and content_type.isprintable()
        ):
            raise ValueError(f"a content type has 1 to {CONTENT_TYPE_CHARS} printable ASCII characters")
        self._content_type = content_type

    def set_prelude(self, content_type: str, data: bytes) -> None:
        """Bytes that precede the first write, and the content type that announces them."""
        self.set_content_type(content_type)
        self._prelude = data

    def write(self, data: bytes | bytearray | memoryview | str) -> int:
        """Send bytes, or text as UTF-8; the number of bytes. Returns when they are on their way.

        Raises TypeError, ValueError after ``end``, and BrokenPipeError when the client has disconnected.
        """
        if isinstance(data, str):
            data = data.encode()
        elif not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"a streamed response takes bytes or str, not {type(data).__name__}")
        view = memoryview(data).cast("B")
        with self._lock:
            if self.ended:
                raise ValueError("write after end: the response is complete")
            if view or self._prelude:
                self._begin()
            for start in range(0, len(view), FRAME_BYTES):
                self._send(CHUNK, view[start : start + FRAME_BYTES])
        return len(view)

    def end(self, data: bytes | bytearray | memoryview | str = b"") -> None:
        """Write ``data`` and take no more. The response is complete when the handler returns. A second call does nothing."""
        if data:
            self.write(data)
        with self._lock:
            if not self.ended:
                self._begin()
            self.ended = True

    # What the bootstrap does with it

    def run(self, answer: Any) -> None:
        """Stream what the handler returned, to its end. Raises what the handler raises."""
        self._run(lambda: _run(self._take_all(answer.__aiter__())) if _is_async(answer) else self._take_each(answer))

    def run_handler(self, handler: Callable[..., Any], event: object, context: object) -> None:
        """Call a handler that writes to this stream itself. Raises what it raises."""
        self._run(lambda: self._let_write(handler(event, self, context)))

    def _run(self, work: Callable[[], None]) -> None:
        os.set_blocking(self._control.fd, False)
        try:
            work()
            self.end()
        finally:
            with self._lock:
                self.ended = True  # threads that the handler left behind write no more
            if not self._control.abandoned:
                os.set_blocking(self._control.fd, True)

    @staticmethod
    def _let_write(answer: Any) -> None:
        if hasattr(answer, "__await__"):
            _run(_awaited(answer))
        elif hasattr(answer, "__next__") or _is_async(answer):
            raise TypeError("a handler wrapped by streamify_response writes to its stream: it must not yield")

    def _take_each(self, pieces: Iterator[Any]) -> None:
        try:
            for piece in pieces:
                self._take(piece)
        finally:
            if (close := getattr(pieces, "close", None)) is not None:
                close()

    async def _take_all(self, pieces: AsyncIterator[Any]) -> None:
        try:
            async for piece in pieces:
                self._take(piece)
        finally:
            if (close := getattr(pieces, "aclose", None)) is not None:
                await close()

    def _take(self, piece: Any) -> None:
        if (content_type := getattr(piece, "content_type", "")) and isinstance(piece, bytes):
            self.set_content_type(content_type)  # an awslambda.http_prelude
        self.write(piece)

    def _begin(self) -> None:
        """What goes before everything else."""
        if self.started:
            return
        self.started = True
        self._send(STREAM_START, memoryview((self._content_type or DEFAULT_CONTENT_TYPE).encode()))
        prelude, self._prelude = self._prelude, b""
        for start in range(0, len(prelude), FRAME_BYTES):
            self._send(CHUNK, memoryview(prelude)[start : start + FRAME_BYTES])

    def _send(self, kind: int, payload: memoryview) -> None:
        """One whole frame, even where the client is gone meanwhile: half of one would be no protocol any more."""
        if self._control.abandoned:
            raise BrokenPipeError("only the process that was asked can answer, not one that it forked")
        self._hear()
        if self.gone:
            raise BrokenPipeError(DISCONNECTED)
        head = self._control.header(kind, self._sequence, len(payload))
        try:
            sent = os.writev(self._control.fd, [head, payload])
        except BlockingIOError:
            sent = 0
        if sent < len(head) + len(payload):
            self._send_rest(memoryview(head + bytes(payload))[sent:])
        if self.gone:
            raise BrokenPipeError(DISCONNECTED)

    def _send_rest(self, rest: memoryview) -> None:
        while rest:
            for _, events in self._poll.poll():
                if events & ~select.POLLOUT:
                    self._hear()
            try:
                rest = rest[os.write(self._control.fd, rest) :]
            except BlockingIOError:
                continue

    def _hear(self) -> None:
        """Whether the worker has said that nobody wants the rest. Leaves the process when the worker is gone."""
        control = self._control
        while True:
            if len(control.pending) >= HEADER_SIZE:
                self.gone = self.gone or control.cancels(control.pending[:HEADER_SIZE], self._sequence)
                control.pending = control.pending[HEADER_SIZE:]
                continue
            try:
                data = os.read(control.fd, HEADER_SIZE - len(control.pending))
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                os._exit(0)
            control.pending += data


def _is_async(answer: object) -> bool:
    return hasattr(answer, "__aiter__")


async def _awaited(answer: Any) -> None:
    await answer


def _run(work: Coroutine[Any, Any, None]) -> None:
    import asyncio

    asyncio.run(work)
