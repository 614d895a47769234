"""The socket to the worker. The frames are those of ``fnrunner.runtimes.frames``."""

from __future__ import annotations

import os
from struct import Struct

from .reactor import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .reactor import Reactor

HELLO, READY, INIT_ERROR, RESULT, ERROR, TOO_LARGE, INVOKE = range(1, 8)
STREAM_START, CHUNK, STREAM_END, STREAM_ERROR, CANCEL, NOT_STARTED, RESTED, FAULT = range(8, 16)
HEADER = Struct(">BIII")
READ_BYTES = 256 * 1024
FRAME_BYTES = 64 * 1024
HELD_BYTES = 64 * 1024
"""What waits for the socket before whoever streams has to wait."""


class Invocation:
    """The fields of an INVOKE and its payload."""

    __slots__ = (
        "arn", "client_context", "deadline_ms", "payload", "request_id", "sequence", "trace", "traceparent", "tracestate",
    )  # fmt: skip

    def __init__(self, sequence: int, fields: bytes, payload: bytes) -> None:
        text = fields.decode("utf-8", "surrogateescape").split("\0", 6)
        self.sequence, self.payload = sequence, payload
        self.request_id, deadline, self.arn, self.trace, self.traceparent, self.tracestate, self.client_context = text
        self.deadline_ms = int(deadline)


class Control:
    """``send`` never blocks; ``crowded`` says when to wait for ``on_room``. ``on_gone``: the worker is no more."""

    def __init__(
        self,
        reactor: Reactor,
        fd: int,
        *,
        on_invoke: Callable[[Invocation], None],
        on_cancel: Callable[[int], None],
        on_room: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._reactor, self._fd = reactor, fd
        self._on_invoke, self._on_cancel, self._on_room, self._on_gone = on_invoke, on_cancel, on_room, on_gone
        self._received = bytearray()
        self._out: list[memoryview] = []
        self._held = 0
        os.set_inheritable(fd, False)
        os.set_blocking(fd, False)
        reactor.watch(fd, READ, self._ready)

    @property
    def crowded(self) -> bool:
        return self._held > HELD_BYTES

    def send(self, kind: int, sequence: int = 0, payload: bytes | memoryview = b"") -> None:
        head = HEADER.pack(kind, sequence, 0, len(payload))
        self._held += len(head) + len(payload)
        self._out.append(memoryview(head))
        if payload:
            self._out.append(memoryview(payload))
        self._flush()

    def send_all(self) -> None:
        """Before the process ends: what is left is sent while the worker takes it."""
        os.set_blocking(self._fd, True)
        while self._out:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                sent = os.writev(self._fd, self._out[:64])
                self._held -= sent
                while self._out and sent >= len(self._out[0]):
                    sent -= len(self._out.pop(0))
                if sent:
                    self._out[0] = self._out[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()
            self._on_gone()
            return
        self._reactor.watch(self._fd, READ | (WRITE if self._out else 0), self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            crowded = self.crowded
            self._flush()
            if crowded and not self.crowded:
                self._on_room()
        if events & ~WRITE:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._on_gone()
                return
            self._received += data
            while self._take():
                pass

    def _take(self) -> bool:
        """Hand over the first frame when it is whole."""
        if len(self._received) < HEADER.size:
            return False
        kind, sequence, fields, payload = HEADER.unpack_from(self._received)
        start = HEADER.size + fields
        end = start + payload
        if len(self._received) < end:
            return False
        view = memoryview(self._received)
        named, body = bytes(view[HEADER.size : start]), bytes(view[start:end])
        view.release()
        del self._received[:end]
        if kind == INVOKE:
            self._on_invoke(Invocation(sequence, named, body))
        elif kind == CANCEL:
            self._on_cancel(sequence)
        return True
