"""What a function writes to stdout and stderr: always drained, kept within bounds, given out by invocation."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import termios
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

KEPT_BYTES = 1024 * 1024
READ_BYTES = 256 * 1024
LIVE_BYTES = 64 * 1024
LIVE_INTERVAL = timedelta(milliseconds=200)
SLICE_BYTES = 512 * 1024
SLICE_INTERVAL = timedelta(milliseconds=10)
"""So much is read of one environment in so much time. Then its pipe fills, and who floods it waits instead of the others."""

OnLog = Callable[[bytes], None]


@dataclass(slots=True)
class BoundedLog:
    """The first half and the last half of what was written; the middle is counted, not kept.

    >>> log = BoundedLog(half_bytes=4)
    >>> log.write(b"0123456789abcdef")
    >>> log.take()
    (b'0123cdef', 8)
    """

    half_bytes: int = KEPT_BYTES // 2
    _head: bytearray = field(default_factory=bytearray)
    _tail: bytearray = field(default_factory=bytearray)
    _dropped: int = 0

    def write(self, data: bytes) -> None:
        if (room := self.half_bytes - len(self._head)) > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data
            if len(self._tail) > 2 * self.half_bytes:
                self._trim()

    def peek(self) -> bytes:
        """What is kept, without taking it."""
        return bytes(self._head + self._tail)

    def take(self) -> tuple[bytes, int]:
        """What is kept, and how many bytes are missing in its middle; afterwards it is empty."""
        if not self._head:
            return b"", 0
        self._trim()
        taken = bytes(self._head + self._tail), self._dropped
        self._head, self._tail, self._dropped = bytearray(), bytearray(), 0
        return taken

    def _trim(self) -> None:
        if (excess := len(self._tail) - self.half_bytes) > 0:
            del self._tail[:excess]
            self._dropped += excess


class Output:
    """The read end of the pipe that is an environment's stdout and stderr, drained by the event loop.

    Nobody waits for its end: a detached child may hold the other side open for ever.
    """

    def __init__(self, log: BoundedLog) -> None:
        """``log`` takes what is written, after what it holds. Raises OSError without file descriptors."""
        self._fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        os.set_blocking(self.write_fd, True)
        self._log = log
        self._pending_size = bytearray(4)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)
        self._on_log: OnLog | None = None
        self._live = bytearray()
        self._budget = 0
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None
        self._slice = SLICE_BYTES
        self._slice_timer: asyncio.TimerHandle | None = None

    def hand_over(self) -> None:
        """The process has the write end now."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def follow(self, on_log: OnLog | None) -> None:
        """Call ``on_log`` with what has been written since the last ``take`` and what will be until the next one.

        In order, every 200 ms at most; the first megabyte whole, then at most 64 KB each time: what is more is left out,
        and a line says how much that was.
        """
        self._on_log = on_log
        self._budget = KEPT_BYTES
        self._left_out = 0
        if on_log is not None and (earlier := self._log.peek()):
            self._show(earlier)

    def write(self, line: bytes) -> None:
        """Add a line of the platform's."""
        self._keep(line)

    def take(self) -> tuple[bytes, int]:
        """Everything written until now, and how many bytes in its middle were not kept. Ends ``follow``."""
        self._drain()
        if self._on_log is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._flush_live()
            self._on_log = None
        return self._log.take()

    def end(self) -> None:
        """Nothing more is read; what is in the pipe now still counts. Idempotent."""
        self._drain()
        self.hand_over()
        if self._slice_timer is not None:
            self._slice_timer.cancel()
            self._slice_timer = None
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _drain(self) -> None:
        """Read what is in the pipe now, and no more: a writer that never stops must not hold us."""
        if self._fd < 0:
            return
        fcntl.ioctl(self._fd, termios.FIONREAD, self._pending_size)
        pending = int.from_bytes(self._pending_size, "little")
        while pending > 0 and (data := self._read()):
            pending -= len(data)
            self._keep(data)

    def _readable(self) -> None:
        data = self._read()
        if data == b"":
            self._loop.remove_reader(self._fd)
        elif data:
            self._keep(data)
            self._slice -= len(data)
            if self._slice_timer is None:
                self._slice_timer = self._loop.call_later(SLICE_INTERVAL.total_seconds(), self._next_slice)
            if self._slice <= 0:
                self._loop.remove_reader(self._fd)

    def _next_slice(self) -> None:
        self._slice_timer = None
        if self._slice <= 0:
            self._loop.add_reader(self._fd, self._readable)
        self._slice = SLICE_BYTES

    def _read(self) -> bytes | None:
        with contextlib.suppress(BlockingIOError):
            return os.read(self._fd, READ_BYTES)
        return None

    def _keep(self, data: bytes) -> None:
        self._log.write(data)
        if self._on_log is not None:
            self._show(data)

    def _show(self, data: bytes) -> None:
        shown = data[: self._budget]
        self._budget -= len(shown)
        self._left_out += len(data) - len(shown)
        self._live += shown
        if self._timer is None:
            self._timer = self._loop.call_later(LIVE_INTERVAL.total_seconds(), self._flush_live)

    def _flush_live(self) -> None:
        self._timer = None
        self._budget = min(KEPT_BYTES, self._budget + LIVE_BYTES)
        if self._left_out:
            self._live += b"\n... %d bytes of output are left out here\n" % self._left_out
            self._left_out = 0
        if self._on_log is not None and self._live:
            data = bytes(self._live)
            self._live.clear()
            self._on_log(data)
