"""One subscriber of telemetry: its buffer, and the connection to where it listens.

HTTP gets a POST with a JSON array for each batch; TCP gets a JSON object a line. A batch that cannot be delivered is tried
again a few times; then its events are dropped, counted, and told with platform.logsDropped.
"""

from __future__ import annotations

import _socket
import os
import time

from .reactor import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .reactor import Reactor, Timer
    from .subscription import Wanted

ATTEMPTS = 4
RETRY_S = 0.1
ANSWER_S = 5.0
DROPPED_MARK = b'"type":"platform.logsDropped"'
TIME_BYTES = len('{"time":"2026-01-01T00:00:00.000Z",')
MOST_BYTES = 4 * 1024 * 1024
"""What waits for a slow subscriber; what comes then is dropped."""


class Delivery:
    """``add`` events; they leave when there are enough of them, or after the subscriber's time."""

    def __init__(self, reactor: Reactor, wanted: Wanted) -> None:
        self._reactor, self._wanted = reactor, wanted
        self._buffer: list[bytes] = []
        self._size = self._held = 0
        self._batches: list[list[bytes]] = []
        self._timer: Timer | None = None
        self._retry: Timer | None = None
        self._call: Call | None = None
        self._failures = 0
        self._dropped = self._dropped_bytes = 0
        self._closed = False

    @property
    def idle(self) -> bool:
        return not self._buffer and not self._batches and self._call is None

    def add(self, event: dict[str, Any]) -> None:
        import json

        if self._closed or not self._wanted.takes(event["type"]):
            return
        data = json.dumps(event, separators=(",", ":")).encode()
        if self._held >= MOST_BYTES:
            self._drop([data])
            return
        if self._buffer and self._size + len(data) > self._wanted.max_bytes:
            self.flush()
        self._held += len(data)
        self._buffer.append(data)
        self._size += len(data)
        if len(self._buffer) >= self._wanted.max_items or self._size >= self._wanted.max_bytes:
            self.flush()
        elif self._timer is None:
            self._timer = self._reactor.call_later(self._wanted.timeout_s, self.flush)

    def missed(self, events: int, size: int) -> None:
        """So many happened before there was a subscriber, and are not kept."""
        self._dropped += events
        self._dropped_bytes += size

    def flush(self) -> None:
        """Send what is buffered, and what is left of before, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._buffer:
            self._batches.append(self._buffer)
            self._buffer, self._size = [], 0
        self._send()

    def close(self) -> None:
        self._closed = True
        self._buffer.clear()
        self._batches.clear()
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        if self._call is not None:
            self._call.close()
            self._call = None

    def _send(self) -> None:
        if self._call is not None or not self._batches:
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        try:
            self._call = Call(self._reactor, self._wanted, self._batches[0], self._done)
        except OSError:
            self._done(False)  # no descriptor is free

    def _done(self, delivered: bool) -> None:
        self._call = None
        if self._closed:
            return
        if delivered:
            self._held -= sum(map(len, self._batches.pop(0)))
            self._failures = 0
            self._tell_dropped()
        else:
            self._failures += 1
            if self._failures < ATTEMPTS:
                self._retry = self._reactor.call_later(RETRY_S * 2**self._failures, self._send)
                return
            self._failures = 0
            self._give_up(self._batches.pop(0))
        self._send()

    def _give_up(self, batch: list[bytes]) -> None:
        """It is told with the next ones; where there are none, at once, but not again and again."""
        self._held -= sum(map(len, batch))
        own = [event for event in batch if event.startswith(DROPPED_MARK, TIME_BYTES)]
        self._drop([event for event in batch if event not in own])
        for event in own:
            self._missed_again(event)
        if len(own) < len(batch) and not self._buffer and not self._batches:
            self._tell_dropped()

    def _missed_again(self, event: bytes) -> None:
        import json

        record = json.loads(event)["record"]
        self.missed(record["droppedRecords"], record["droppedBytes"])

    def _drop(self, events: list[bytes]) -> None:
        self._dropped += len(events)
        self._dropped_bytes += sum(map(len, events))

    def _tell_dropped(self) -> None:
        if not self._dropped:
            return
        record = {
            "reason": "The subscriber did not take the telemetry",
            "droppedRecords": self._dropped,
            "droppedBytes": self._dropped_bytes,
        }
        self._dropped = self._dropped_bytes = 0
        moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        self.add({"time": moment, "type": "platform.logsDropped", "record": record})


class Call:
    """One batch on its way. ``done`` is called once, with whether it arrived."""

    def __init__(self, reactor: Reactor, wanted: Wanted, batch: list[bytes], done: Any) -> None:
        self._reactor, self._done, self._http = reactor, done, wanted.protocol == "HTTP"
        self._out = memoryview(_request(wanted, batch) if self._http else b"".join(event + b"\n" for event in batch))
        self._answer = b""
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._fd = self._socket.fileno()
        self._socket.connect_ex(wanted.address)
        self._timer = reactor.call_later(ANSWER_S, self._fail)
        reactor.watch(self._fd, WRITE, self._ready)

    def close(self) -> None:
        self._timer.cancel()
        self._reactor.forget(self._fd)
        self._socket.close()

    def _finish(self, delivered: bool) -> None:
        self.close()
        self._done(delivered)

    def _fail(self) -> None:
        self._finish(False)

    def _ready(self, _: int) -> None:
        try:
            if self._out:
                self._out = self._out[os.write(self._fd, self._out) :]
                if not self._out and self._http:
                    self._reactor.watch(self._fd, READ, self._ready)
                elif not self._out:
                    self._finish(True)
                return
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            self._fail()
            return
        self._answer += data
        if b"\n" in self._answer or not data:
            self._finish(self._answer[9:10] == b"2" and self._answer.startswith(b"HTTP/1."))


def _request(wanted: Wanted, batch: list[bytes]) -> bytes:
    body = b"[" + b",".join(batch) + b"]"
    head = (
        f"{wanted.method} {wanted.path} HTTP/1.1\r\nHost: sandbox.localdomain:{wanted.address[1]}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
