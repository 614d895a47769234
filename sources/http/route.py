"""Which route of an HTTP API takes a request.

A route without a greedy parameter comes before one with; among those the one whose segments are literal further to the
left; of two with one path the one that names the method. ``$default`` takes what nothing else does.

>>> table = RouteTable([Pattern("GET", "/pets/{id}"), Pattern("ANY", "/{proxy+}"), Pattern()])
>>> table.match("GET", "/pets/7").parameters, table.match("POST", "/pets/7").parameters, table.match("GET", "/").parameters
({'id': '7'}, {'proxy': 'pets/7'}, {})

Source: API Gateway, working with routes for HTTP APIs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

METHODS = ("ANY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
MAX_PATH_CHARS = 400
_PARAMETER = re.compile(r"\{([A-Za-z0-9._-]+)(\+?)\}")


class Routed(Protocol):
    """``method`` may be ``ANY``; both are empty for ``$default``."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Pattern:
    """The smallest thing that is routed."""

    method: str = ""
    path: str = ""


R = TypeVar("R", bound=Routed)


@dataclass(frozen=True, slots=True)
class Matched(Generic[R]):
    """``parameters`` are decoded; a greedy one holds slashes."""

    route: R
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Segment:
    """``name`` is empty for a literal. ``rank`` orders: literal, parameter, greedy."""

    literal: str = ""
    name: str = ""
    rank: int = 0


class RouteTable(Generic[R]):
    """The routes of one API in the order in which they are tried. They are valid (:func:`problem`)."""

    def __init__(self, routes: Iterable[R]) -> None:
        self._default: R | None = None
        known: list[tuple[tuple[bool, tuple[int, ...], bool], tuple[_Segment, ...], R]] = []
        for route in routes:
            if not route.path:
                self._default = route
                continue
            segments = _segments(route.path)
            ranks = tuple(segment.rank for segment in segments)
            known.append(((2 in ranks, ranks, route.method == "ANY"), segments, route))
        self._routes = [(segments, route) for _, segments, route in sorted(known, key=lambda entry: entry[0])]

    def match(self, method: str, raw_path: str) -> Matched[R] | None:
        """``raw_path`` begins with a slash and is still encoded; its segments are decoded one by one."""
        parts = [_decoded(part) for part in raw_path[1:].split("/")]
        for segments, route in self._routes:
            if route.method in ("ANY", method) and (found := _matched(segments, parts)) is not None:
                return Matched(route, found)
        return Matched(self._default, {}) if self._default is not None else None


def problem(method: str, path: str) -> str | None:
    """What is wrong with a route; None when it is right.

    >>> problem("GET", "/items/{id}"), problem("", "")
    (None, None)
    >>> problem("GET", "/{proxy+}/x")
    "the greedy '{proxy+}' in '/{proxy+}/x' is not the last segment"
    """
    if not path:
        return None if not method else f"method {method!r} comes without a path: $default takes every method"
    if method not in METHODS:
        return f"method {method[:32]!r} is none of {', '.join(METHODS)}"
    return next(_path_problems(path), None)


def shape(path: str) -> str:
    """The path without the names of its parameters: two routes of one shape and method would take the same requests.

    >>> shape("/items/{id}/{rest+}")
    '/items/{}/{+}'
    """
    return _PARAMETER.sub(r"{\2}", path)


def _path_problems(path: str) -> Iterator[str]:
    if not path.startswith("/"):
        yield f"path {path[:64]!r} does not begin with /"
    if len(path) > MAX_PATH_CHARS:
        yield f"path {path[:64]!r}… has more than {MAX_PATH_CHARS} characters"
    names = []
    parts = path[1:].split("/")
    for position, part in enumerate(parts):
        if (found := _PARAMETER.fullmatch(part)) is not None:
            names.append(found[1])
            if found[2] and position < len(parts) - 1:
                yield f"the greedy {part!r} in {path!r} is not the last segment"
        elif re.search(r"[{}?#%\s\x00-\x1f\x7f]", part):
            yield f"segment {part[:64]!r} of {path[:64]!r} is neither a text nor one parameter such as {{id}} or {{proxy+}}"
        elif not part and len(parts) > 1:
            yield f"path {path[:64]!r} has an empty segment"
    if len(set(names)) < len(names):
        yield f"path {path[:64]!r} has two parameters of one name"


def _segments(path: str) -> tuple[_Segment, ...]:
    return tuple(_segment(part) for part in path[1:].split("/"))


def _segment(part: str) -> _Segment:
    if (found := _PARAMETER.fullmatch(part)) is None:
        return _Segment(literal=part)
    return _Segment(name=found[1], rank=2 if found[2] else 1)


def _matched(segments: tuple[_Segment, ...], parts: list[str]) -> dict[str, str] | None:
    greedy = segments[-1].rank == 2
    if len(parts) < len(segments) or (len(parts) > len(segments) and not greedy):
        return None
    found: dict[str, str] = {}
    for segment, part in zip(segments, parts, strict=False):
        if segment.rank == 0:
            if segment.literal != part:
                return None
        elif segment.rank == 1:
            found[segment.name] = part
            if not part:
                return None
        else:
            found[segment.name] = "/".join(parts[len(segments) - 1 :])
            if not found[segment.name]:
                return None
    return found


def _decoded(part: str) -> str:
    return unquote_to_bytes(part).decode("utf-8", "replace") if "%" in part else part
