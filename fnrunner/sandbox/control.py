"""The worker's end of the control socket: sends invocations, hands over each whole frame, reports when it ends.

It can be paused: what a bootstrap sends then stays in the socket, whose buffer fills until the bootstrap has to wait.

Reads and writes are done directly in the event loop's callbacks, without streams: this is the hot path.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from fnrunner.runtimes.frames import HEADER, LARGEST, BadFrame, Kind, split_header

READ_BYTES = 64 * 1024

OnFrame = Callable[[Kind, int, bytes], None]
OnLost = Callable[[BadFrame | None], None]


class Control:
    """``on_frame`` gets kind, sequence and payload. ``on_lost`` is called once: with None when the other end closed,
    with a BadFrame when something else than frames came, or ``on_frame`` raised it; nothing is read afterwards.
    """

    def __init__(self, on_frame: OnFrame, on_lost: OnLost) -> None:
        """Raises OSError when the process has no file descriptors left."""
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._received = bytearray()
        self._large = bytearray()
        """The frame that is being received, when it is large: filled in place up to ``_filled``."""
        self._filled = 0
        self._unsent = memoryview(b"")
        self._open = True
        self._paused = False
        self._loop = asyncio.get_running_loop()
        self._fd = self._socket.fileno()
        self._loop.add_reader(self._fd, self._readable)

    @property
    def their_fd(self) -> int:
        """The end for the process to inherit, until ``hand_over``."""
        return self._theirs.fileno()

    def hand_over(self) -> None:
        """The process has its end now."""
        self._theirs.close()

    def send(self, head: bytes, payload: bytes) -> None:
        """Send without waiting; what the socket does not take now follows when it can."""
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + head + payload)
            return
        try:
            sent = self._socket.sendmsg((head, payload))
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the reader learns it too, and reports it
        if sent < len(head) + len(payload):
            whole = payload if sent >= len(head) else head + payload
            self._unsent = memoryview(whole)[sent - len(head) if sent >= len(head) else sent :]
            self._loop.add_writer(self._fd, self._writable)

    def pause(self) -> None:
        """Hand over nothing and read nothing until ``resume``. Idempotent. That the other end closed goes unnoticed."""
        if self._open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Go on after ``pause``, soon: not within this call. Idempotent."""
        if self._open and self._paused:
            self._paused = False
            self._loop.add_reader(self._fd, self._readable)
            if self._received or self._large:
                self._loop.call_soon(self._take_frames)

    def read_rest(self) -> None:
        """Hand over what has arrived and was not read yet, paused or not: the process has ended, so it is bounded."""
        while self._open:
            self.resume()
            self._take_frames()
            if not (self._paused or self._readable()):
                break

    def close(self) -> None:
        """Idempotent. The bootstrap leaves when it sees the end."""
        if self._open:
            self._stop()
        self._socket.close()
        self._theirs.close()

    def _writable(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._loop.remove_writer(self._fd)

    def _readable(self) -> bool:
        """Whether there was something."""
        try:
            count = self._fill_large() if self._large else self._fill()
        except BlockingIOError:
            return False
        except OSError:
            count = 0
        if not count:
            self._lose(None)
            return False
        self._take_frames()
        return True

    def _fill(self) -> int:
        data = self._socket.recv(READ_BYTES)
        self._received += data
        return len(data)

    def _fill_large(self) -> int:
        with memoryview(self._large) as view:
            count = self._socket.recv_into(view[self._filled :])
        self._filled += count
        return count

    def _take_frames(self) -> None:
        try:
            while self._open and not self._paused and self._take_frame():
                pass
        except BadFrame as error:
            self._lose(error)

    def _take_frame(self) -> bool:
        """Hand over the first frame if it is whole. Raises BadFrame."""
        if self._large:
            return self._take_large()
        if len(self._received) < HEADER.size:
            return False
        kind, sequence, fields_bytes, size = split_header(self._received)
        if fields_bytes or size > LARGEST[kind]:
            raise BadFrame(f"a {kind.name} frame of {size} bytes does not exist")
        end = HEADER.size + size
        if len(self._received) < end:
            if end > READ_BYTES:
                # megabytes are received where they stay: collecting them piece by piece would move each several times
                self._filled = len(self._received)
                self._large = self._received + bytes(end - self._filled)
                self._received = bytearray()
            return False
        payload = bytes(memoryview(self._received)[HEADER.size : end])
        del self._received[:end]
        self._on_frame(kind, sequence, payload)
        return True

    def _take_large(self) -> bool:
        if self._filled < len(self._large):
            return False
        kind, sequence, _, _ = split_header(self._large)
        payload = bytes(memoryview(self._large)[HEADER.size :])
        self._large = bytearray()
        self._on_frame(kind, sequence, payload)
        return True

    def _lose(self, error: BadFrame | None) -> None:
        self._stop()
        self._on_lost(error)

    def _stop(self) -> None:
        self._open = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
