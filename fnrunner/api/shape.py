"""Lambda's API model as botocore has it: operations, paths and shapes, read once and never at import.

An :class:`Operation` holds everything that request reading and validation need, compiled. Where Lambda enforces tighter
limits than its model (which also covers offers that fnrunner has not), :data:`TIGHTER` has Lambda's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from botocore.loaders import Loader

from fnrunner.model import limits

API_VERSION = "2015-03-31"

TIGHTER: Mapping[str, Mapping[str, int]] = {
    "Timeout": {"max": limits.TIMEOUT_S[1]},
    "MemorySize": {"max": limits.MEMORY_MB[1]},
    "EphemeralStorageSize": {"max": limits.EPHEMERAL_STORAGE_MB[1]},
}
"""Source: Lambda quotas. The model's larger maxima are those of managed instances."""

FREE = frozenset({"Runtime"})
"""Members whose enumeration the catalogue judges, since Lambda has words of its own for them."""

_UNICODE_SETS = {r"\p{L}": r"\w", r"\p{N}": "", r"\p{Z}": " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"}


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape. ``members`` of a structure, ``item`` of a list, ``key`` and ``item`` of a map."""

    kind: str
    minimum: int | None = None
    maximum: int | None = None
    pattern: str = ""
    compiled: re.Pattern[str] | None = None
    enum: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    members: Mapping[str, Member] = field(default_factory=dict)
    item: Shape | None = None
    key: Shape | None = None
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member travels: ``location`` is ``uri``, ``querystring``, ``header``, ``payload`` or ``body``."""

    shape: Shape
    location: str
    wire_name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """``path`` is the template split on ``/``; ``query`` what the query must hold (``List=ALL``) to mean this one."""

    name: str
    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    status: int
    input: Shape
    by_location: Mapping[str, tuple[tuple[str, Member], ...]]


@cache
def load() -> tuple[Operation, ...]:
    """Every operation of the installed model, in its order. The first call takes about 0.1 s."""
    model = Loader().load_service_model("lambda", "service-2", API_VERSION)
    reader = _Reader(model["shapes"])
    return tuple(reader.operation(name, spec) for name, spec in model["operations"].items())


class _Reader:
    """Compiles shapes by name, each once. Input shapes of this API do not recurse."""

    def __init__(self, shapes: Mapping[str, Any]) -> None:
        self._raw = shapes
        self._done: dict[str, Shape] = {}

    def operation(self, name: str, spec: Mapping[str, Any]) -> Operation:
        uri, _, query = spec["http"]["requestUri"].partition("?")
        shape = self._shape(spec["input"]["shape"]) if "input" in spec else Shape("structure")
        places: dict[str, list[tuple[str, Member]]] = {}
        for member_name, member in shape.members.items():
            places.setdefault(member.location, []).append((member_name, member))
        return Operation(
            name=name,
            method=spec["http"]["method"],
            path=tuple(uri.strip("/").split("/")),
            query=dict(pair.split("=", 1) for pair in query.split("&")) if query else {},
            status=spec["http"].get("responseCode", 200),
            input=shape,
            by_location={place: tuple(found) for place, found in places.items()},
        )

    def _shape(self, name: str) -> Shape:
        if name not in self._done:
            self._done[name] = self._compile(name, self._raw[name])
        return self._done[name]

    def _compile(self, shape_name: str, raw: Mapping[str, Any]) -> Shape:
        payload = raw.get("payload")
        pattern = raw.get("pattern", "")
        item = raw.get("member") or raw.get("value")
        return Shape(
            kind=raw["type"],
            minimum=raw.get("min"),
            maximum=TIGHTER.get(shape_name, raw).get("max"),
            pattern=pattern,
            compiled=_regex(pattern) if pattern else None,
            enum=tuple(raw.get("enum", ())),
            required=tuple(raw.get("required", ())),
            members={
                name: Member(
                    replace(self._shape(member["shape"]), enum=()) if name in FREE else self._shape(member["shape"]),
                    "payload" if name == payload else member.get("location", "body"),
                    member.get("locationName", name),
                )
                for name, member in raw.get("members", {}).items()
            },
            item=self._shape(item["shape"]) if item else None,
            key=self._shape(raw["key"]["shape"]) if "key" in raw else None,
            sensitive=bool(raw.get("sensitive")),
        )


def _regex(pattern: str) -> re.Pattern[str]:
    """Java's pattern as Python's: ``\\p`` classes spelled out, and ``\\d``, ``\\s``, ``\\w`` ASCII as Java has them."""
    if r"\p{" not in pattern:
        return re.compile(pattern, re.ASCII)
    for java, python in _UNICODE_SETS.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern)
