"""Events of the platform and lines of logs for those who subscribed: kept for latecomers, buffered, delivered.

Events until the end of initialisation are kept, because Lambda delivers them to whoever subscribes during it. Afterwards
nobody can subscribe, and without subscribers an event costs one comparison.
"""

from __future__ import annotations

import time

from .delivery import Delivery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .reactor import Reactor
    from .subscription import Wanted

KEPT_EVENTS, KEPT_BYTES = 1000, 1024 * 1024
"""Of what happened before anybody subscribed."""
USUAL_BYTES = 512
"""Of an event of the platform, about."""
KEPT_LINE_BYTES = 256 * 1024


class Telemetry:
    """``emit`` and ``lines`` at any time; ``subscribe`` until ``close_subscriptions``."""

    def __init__(self, reactor: Reactor, *, json_lines: bool) -> None:
        self.closed = False
        self._reactor, self._json_lines = reactor, json_lines
        self._early: list[dict[str, Any]] = []
        self._early_bytes = self._missed = self._missed_bytes = 0
        self._deliveries: dict[str, Delivery] = {}
        self._unfinished: dict[str, bytes] = {}

    @property
    def active(self) -> bool:
        """Whether somebody takes events, or may come to."""
        return bool(self._deliveries) or not self.closed

    def subscribe(self, name: str, wanted: Wanted) -> None:
        """From now on, and what has happened until now. A second subscription of the same name replaces the first."""
        repeated = name in self._deliveries
        if repeated:
            self._deliveries.pop(name).close()
        delivery = self._deliveries[name] = Delivery(self._reactor, wanted)
        if repeated:
            return
        for event in self._early:
            delivery.add(event)
        delivery.missed(self._missed, self._missed_bytes)

    def close_subscriptions(self) -> None:
        """Initialisation is over."""
        self.closed = True
        self._early.clear()

    def emit(self, kind: str, record: Any, size: int = USUAL_BYTES) -> None:
        """An event that happened now; ``size`` in bytes, about."""
        if not self.active:
            return
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        event = {"time": f"{moment}.{int(now * 1000) % 1000:03d}Z", "type": kind, "record": record}
        if not self.closed:
            self._keep(event, size)
        for delivery in self._deliveries.values():
            delivery.add(event)

    def _keep(self, event: dict[str, Any], size: int) -> None:
        if len(self._early) < KEPT_EVENTS and self._early_bytes + size <= KEPT_BYTES:
            self._early.append(event)
            self._early_bytes += size
        else:
            self._missed += 1
            self._missed_bytes += size

    def lines(self, kind: str, source: str, data: bytes) -> None:
        """What a process wrote: each line is an event, once it is complete or long."""
        if not self.active:
            return
        *whole, rest = (self._unfinished.pop(source, b"") + data).split(b"\n")
        if len(rest) > KEPT_LINE_BYTES:
            whole.append(rest)
            rest = b""
        if rest:
            self._unfinished[source] = rest
        for line in whole:
            self._line(kind, line)

    def end_lines(self, kind: str, source: str) -> None:
        """The process ended, or its invocation: what it left without a line end is a line."""
        if rest := self._unfinished.pop(source, b""):
            self._line(kind, rest)

    def flush(self) -> None:
        """Deliver what is buffered now."""
        for delivery in self._deliveries.values():
            delivery.flush()

    @property
    def idle(self) -> bool:
        """Whether everything is delivered, or given up."""
        return all(delivery.idle for delivery in self._deliveries.values())

    def _line(self, kind: str, line: bytes) -> None:
        text: Any = line.decode("utf-8", "replace")
        if self._json_lines and text.startswith("{"):
            import json

            try:
                text = json.loads(text)
            except (ValueError, RecursionError):
                pass  # a line that only looks like JSON
        self.emit(kind, text, len(line))
