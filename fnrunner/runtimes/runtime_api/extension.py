"""One extension: its name, its process if it is external, what it registered for, and where it is in its life."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .child import Child
    from .control import Invocation
    from .server import Exchange

STARTED, REGISTERED, READY, RUNNING, FAILED = "Started", "Registered", "Ready", "Running", "Failed"
INVOKE, SHUTDOWN = "INVOKE", "SHUTDOWN"
MOST_EXTENSIONS = 10
HIDDEN = frozenset({
    "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT", "_HANDLER",
})  # fmt: skip
HIDDEN_PREFIXES = ("AWS_XRAY_", "_AWS_XRAY_")


class Extension:
    """``child`` is None for an internal one, which lives in the runtime's process."""

    def __init__(self, name: str, *, external: bool) -> None:
        self.name, self.external = name, external
        self.identifier = _uuid()
        self.state = STARTED
        self.events: list[str] = []
        self.child: Child | None = None
        self._next: Exchange | None = None
        self._undelivered: list[bytes] = []

    @property
    def registered(self) -> bool:
        return self.state != STARTED

    @property
    def ready(self) -> bool:
        """Whether it waits for an event; one whose invocation is over waits too."""
        return self.state == READY

    @property
    def asking(self) -> bool:
        """Whether its question is open. A connection may break, and it asks again."""
        return self._next is not None and self._next.open

    def wait(self, exchange: Exchange) -> None:
        """It asked for the next event."""
        self.state = READY
        exchange.on_gone = self._gone
        self._next = exchange
        self._deliver()

    def tell(self, event: bytes) -> None:
        """Give it an event as soon as it asks."""
        self._undelivered.append(event)
        self._deliver()

    def _deliver(self) -> None:
        if self._undelivered and self._next is not None and self._next.open:
            exchange, self._next = self._next, None
            self.state = RUNNING
            exchange.answer(200, self._undelivered.pop(0), (("Lambda-Extension-Event-Identifier", _uuid()),))

    def _gone(self) -> None:
        if self._next is not None and not self._next.open:
            self._next = None


def found_in(directory: str) -> list[str]:
    """The names of the programs there, sorted; none when there is no such directory."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())
    except OSError:
        return []


def visible_variables(variables: dict[str, str]) -> dict[str, str]:
    """What an external extension may see of the function's environment.

    >>> visible_variables({"_HANDLER": "a.b", "AWS_XRAY_X": "", "A": "b"})
    {'A': 'b'}
    """
    return {
        name: value for name, value in variables.items() if name not in HIDDEN and not name.startswith(HIDDEN_PREFIXES)
    }


def invoke_event(invocation: Invocation) -> bytes:
    """What an extension gets for an invocation."""
    import json

    event = {
        "eventType": INVOKE,
        "deadlineMs": invocation.deadline_ms,
        "requestId": invocation.request_id,
        "invokedFunctionArn": invocation.arn,
        "tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def shutdown_event(reason: str, deadline_ms: int) -> bytes:
    """
    >>> shutdown_event("SPINDOWN", 7)
    b'{"eventType":"SHUTDOWN","shutdownReason":"SPINDOWN","deadlineMs":7}'
    """
    import json

    event = {"eventType": SHUTDOWN, "shutdownReason": reason, "deadlineMs": deadline_ms}
    return json.dumps(event, separators=(",", ":")).encode()


def _uuid() -> str:
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
