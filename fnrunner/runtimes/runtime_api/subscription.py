"""What a subscription to telemetry may ask for: the bodies of the Telemetry API and of the older Logs API, checked. Pure.

>>> parse({"types": ["platform"], "destination": {"protocol": "HTTP", "URI": "http://sandbox:8080/a"}}).address
('127.0.0.1', 8080)
>>> parse({"types": [], "destination": {"protocol": "TCP"}})
Traceback (most recent call last):
...
fnrunner.runtimes.runtime_api.subscription.Invalid: types should not be empty; destination port is not provided

Source: Lambda, Telemetry API reference and Logs API reference.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOSTS = frozenset({"sandbox", "sandbox.localdomain", "sandbox.local", "localhost", "127.0.0.1"})
"""The names that a destination may have. Each is the environment itself: 127.0.0.1."""
TYPES = ("platform", "function", "extension")
SCHEMAS = frozenset({"2022-07-01", "2022-12-13", "2025-01-29"})
LOGS_SCHEMAS = frozenset({"2020-08-15", "2021-03-18"})
LOGS_EVENTS = frozenset(
    f"platform.{name}" for name in ("start", "end", "report", "fault", "extension", "logsSubscription", "logsDropped")
)
LOGS_ONLY = frozenset({"platform.end", "platform.fault", "platform.logsSubscription"})
PORTS = range(1, 65536)
BOUNDS = {"maxItems": (25, 30_000, 1_000), "maxBytes": (262_144, 1_048_576, 262_144), "timeoutMs": (25, 30_000, 10_000)}
"""Least, most, usual. For timeoutMs Lambda's reference says 1,000 at least, and its own examples use 100 and 25."""


class Invalid(ValueError):
    """The subscription cannot be had; the text names every mistake."""


class Wanted:
    """What a subscriber wants, and where. ``path`` is for HTTP alone."""

    __slots__ = (
        "address",
        "logs",
        "max_bytes",
        "max_items",
        "method",
        "path",
        "protocol",
        "schema",
        "timeout_s",
        "types",
    )

    def __init__(self, *, logs: bool = False) -> None:
        """``logs``: by the Logs API."""
        self.logs = logs
        self.method = "POST"
        self.types: list[str] = []
        self.protocol = "HTTP"
        self.address = ("127.0.0.1", 0)
        self.path = "/"
        self.schema = "2020-08-15" if logs else "2022-12-13"
        self.max_items, self.max_bytes, self.timeout_s = 1_000, 262_144, 10.0

    def takes(self, event: str) -> bool:
        """Whether an event of this type is for the subscriber.

        >>> Wanted().takes("platform.start")
        False
        """
        if event.partition(".")[0] not in self.types:
            return False
        if not event.startswith("platform."):
            return True
        if self.logs:
            return event in LOGS_EVENTS or (event == "platform.runtimeDone" and self.schema == "2021-03-18")
        return event not in LOGS_ONLY


def parse(body: Any, *, logs: bool = False) -> Wanted:
    """``logs``: a body of the Logs API. Raises Invalid."""
    if not isinstance(body, dict):
        raise Invalid("the body should be a JSON object")
    wanted, mistakes = Wanted(logs=logs), list[str]()
    types = body.get("types")
    if not isinstance(types, list) or not types:
        mistakes.append("types should not be empty")
    elif unknown := [kind for kind in types if not isinstance(kind, str) or kind not in TYPES]:
        mistakes.append(f"types has {unknown[0]!r}: use {', '.join(TYPES)}")
    else:
        wanted.types = list(types)
    schema = body.get("schemaVersion", wanted.schema)
    if not isinstance(schema, str) or schema not in (LOGS_SCHEMAS if logs else SCHEMAS):
        mistakes.append(f"schemaVersion {schema!r} is not supported: use {wanted.schema}")
    else:
        wanted.schema = schema
    _buffering(body.get("buffering", {}), wanted, mistakes)
    _destination(body.get("destination"), wanted, mistakes)
    if mistakes:
        raise Invalid("; ".join(mistakes))
    return wanted


def _buffering(buffering: Any, wanted: Wanted, mistakes: list[str]) -> None:
    if not isinstance(buffering, dict):
        mistakes.append("buffering should be an object")
        return
    values = {}
    for name, (least, most, usual) in BOUNDS.items():
        value = buffering.get(name, usual)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            mistakes.append(f"buffering.{name} should be from {least} to {most}")
        else:
            values[name] = value
    if len(values) == len(BOUNDS):
        wanted.max_items, wanted.max_bytes = values["maxItems"], values["maxBytes"]
        wanted.timeout_s = values["timeoutMs"] / 1000


def _destination(destination: Any, wanted: Wanted, mistakes: list[str]) -> None:
    if not isinstance(destination, dict):
        mistakes.append("destination is not provided")
        return
    protocol = destination.get("protocol")
    if protocol == "TCP":
        _tcp(destination, wanted, mistakes)
    elif protocol == "HTTP":
        _http(destination, wanted, mistakes)
    else:
        mistakes.append("destination.protocol should be HTTP or TCP")


def _tcp(destination: dict[str, Any], wanted: Wanted, mistakes: list[str]) -> None:
    port = destination.get("port")
    if "URI" in destination and port is None:
        port = _port(str(destination["URI"]).rpartition(":")[2])
    wanted.protocol = "TCP"
    if port is None:
        mistakes.append("destination port is not provided")
    elif not isinstance(port, int) or port not in PORTS:
        mistakes.append("destination port should be from 1 to 65535")
    else:
        wanted.address = ("127.0.0.1", port)


def _http(destination: dict[str, Any], wanted: Wanted, mistakes: list[str]) -> None:
    uri = destination.get("URI")
    if not isinstance(uri, str) or not uri.startswith("http://"):
        mistakes.append("destination.URI should be http://sandbox.localdomain:PORT/PATH")
        return
    authority, slash, path = uri[len("http://") :].partition("/")
    host, _, number = authority.partition(":")
    if host not in HOSTS:
        mistakes.append(f"destination.URI has the host {host!r}: use sandbox.localdomain")
    if not number:
        mistakes.append("URI port is not provided")
    elif (port := _port(number)) is None:
        mistakes.append("destination.URI should have a port from 1 to 65535")
    else:
        wanted.address = ("127.0.0.1", port)
    if not path.isascii() or not all(32 < ord(character) < 127 for character in path):
        mistakes.append("destination.URI should have a path of printable characters")
    elif destination.get("method", "POST") not in ("POST", "PUT"):
        mistakes.append("destination.method should be POST or PUT")
    elif destination.get("encoding", "JSON") != "JSON":
        mistakes.append("destination.encoding should be JSON")
    else:
        wanted.path, wanted.method = slash + path or "/", destination.get("method", "POST")


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 and int(text) in PORTS else None
