"""What is wanted, wherever it was said: on the command line or in a template. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
class FunctionSpec:
    """A function as it is wanted.

    ``configuration`` has keys and values of UpdateFunctionConfiguration. ``whole``: it describes the function completely,
    so that concurrency, event-invoke configuration, tags and notifications that are not wanted are taken away; otherwise
    None means "as it is". ``event_invoke`` is the body of PutFunctionEventInvokeConfig.
    """

    name: str
    code: CodeSource
    configuration: Mapping[str, Any] = field(repr=False)
    architecture: str = ""
    reserved_concurrency: int | None = None
    event_invoke: Mapping[str, Any] | None = None
    tags: Mapping[str, str] | None = None
    notifications: tuple[NotificationSpec, ...] | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """All that one deployment wants. ``outputs`` are a template's; ``warnings`` are for the reader before anything happens."""

    functions: tuple[FunctionSpec, ...]
    buckets: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
