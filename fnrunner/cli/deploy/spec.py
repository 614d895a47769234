"""What is wanted, wherever it was said: on the command line or in a template. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy.trigger import TriggerSpec


@dataclass(frozen=True, slots=True)
class CodeSource:
    """Where a function's code comes from: ``path`` (a folder, a ``.py`` or a ``.zip`` file), or ``inline``, the source of
    ``index.py``.
    """

    path: Path | None = None
    inline: str = ""


@dataclass(frozen=True, slots=True)
class NotificationSpec:
    """Which events of a bucket invoke the function. ``id`` names it within the function."""

    id: str
    bucket: str
    events: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A route of the HTTP API called ``api``; without method and path, what no other takes. ``name`` is the event's."""

    name: str
    api: str
    function: str
    method: str = ""
    path: str = ""
    timeout_ms: int | None = None

    @property
    def key(self) -> str:
        """As events have it: ``GET /items``."""
        return f"{self.method} {self.path}" if self.path else "$default"


@dataclass(frozen=True, slots=True)
class ApiSpec:
    """An HTTP API with all of its routes. ``cors`` is in the server's shape."""

    name: str
    stage: str = "$default"
    cors: Mapping[str, Any] | None = None
    routes: tuple[RouteSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function as it is wanted.

    ``configuration`` has keys and values of UpdateFunctionConfiguration. ``whole``: it describes the function completely,
    so that concurrency, event-invoke configuration, tags, notifications and triggers that are not wanted are taken away;
    otherwise None means "as it is". ``event_invoke`` is the body of PutFunctionEventInvokeConfig.
    """

    name: str
    code: CodeSource
    configuration: Mapping[str, Any] = field(repr=False)
    architecture: str = ""
    reserved_concurrency: int | None = None
    event_invoke: Mapping[str, Any] | None = None
    tags: Mapping[str, str] | None = None
    notifications: tuple[NotificationSpec, ...] | None = None
    triggers: tuple[TriggerSpec, ...] | None = None
    routes: tuple[RouteSpec, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """``attributes`` are those that the template gives, in the server's shape."""

    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamSpec:
    name: str
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class Stack:
    """All that one deployment wants. ``outputs`` are a template's; ``warnings`` are for the reader before anything happens."""

    functions: tuple[FunctionSpec, ...]
    buckets: tuple[str, ...] = ()
    queues: tuple[QueueSpec, ...] = ()
    streams: tuple[StreamSpec, ...] = ()
    topics: tuple[str, ...] = ()
    apis: tuple[ApiSpec, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
