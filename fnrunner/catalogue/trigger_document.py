"""Triggers and event source mappings as JSON documents, and back, by the types of their fields.

A reader passes over keys that it does not know and takes defaults for those it misses, as for functions
(:mod:`fnrunner.catalogue.document`). Durations are seconds, times ISO 8601, enums their values.

>>> from fnrunner.model.trigger import HttpRoute
>>> route = HttpRoute("api", "f", "GET", "/x")
>>> load(HttpRoute, dump(route)) == route
True
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from fnrunner.catalogue import document

T = TypeVar("T")


def dump(value: Any) -> str:
    """Compact JSON."""
    return document.dump(_plain(value))


def load(kind: type[T], text: str) -> T:
    """Raises TypeError or ValueError for what no release wrote."""
    value: T = _made(kind, json.loads(text))
    return value


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _made(kind: Any, value: Any) -> Any:
    if get_origin(kind) is UnionType:
        (kind,) = [one for one in get_args(kind) if one is not NoneType]
        return None if value is None else _made(kind, value)
    if get_origin(kind) is tuple:
        return tuple(_made(get_args(kind)[0], item) for item in value)
    if isinstance(kind, type) and is_dataclass(kind):
        types = _types(kind)
        return kind(**{name: _made(types[name], item) for name, item in value.items() if name in types})
    if issubclass(kind, Enum):
        return kind(value)
    if kind is timedelta:
        return timedelta(seconds=value)
    return datetime.fromisoformat(value) if kind is datetime else value


@cache
def _types(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
