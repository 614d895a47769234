"""A gate that functions wait at until a test opens it. Their loopback is the host's with FNRUNNER_NETWORK=host only."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Self

PATIENCE_S = 60.0

CODE = """
    import socket
    def handler(event, context):
        if "gate" in event:
            try:
                socket.create_connection(("127.0.0.1", event["gate"]), timeout=120).recv(1)
            except OSError:
                pass  # it is open
        return "passed"
"""


class Gate:
    """``with Gate() as gate``: send ``gate.event`` to a function of :data:`CODE`; it runs until ``open``."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(PATIENCE_S)
        self._waiting: list[socket.socket] = []
        self.event = {"gate": self._listener.getsockname()[1]}

    def until_waiting(self, count: int) -> None:
        """Return when so many have come in all. Raises TimeoutError."""
        while len(self._waiting) < count:
            self._waiting.append(self._listener.accept()[0])

    def until_gone(self, count: int) -> None:
        """Return when the first so many have been cut off. Raises TimeoutError."""
        for waiting in self._waiting[:count]:
            waiting.settimeout(PATIENCE_S)
            with contextlib.suppress(ConnectionError):
                waiting.recv(1)

    def open(self) -> None:
        """Idempotent."""
        self._listener.close()
        for waiting in self._waiting:
            waiting.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.open()
