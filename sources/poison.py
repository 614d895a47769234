"""What is wrong with the records that were found guilty: how their data differ from their neighbours'. Pure, and bounded.

The neighbours are the innocent records of the same batch. Only what all of them agree on counts, and only shape: which keys
there are, and the kinds of values. Values themselves are not compared.

>>> [differs(b'{"t": "warm"}', [b'{"t": 1}', b'{"t": 2}']), differs(b'{"t": 3}', [b'{"t": 1}', b'{"t": 2}'])]
['$.t is a string where 2 of 2 neighbours have a number', '']
>>> differs(b'{"T": 1}', [b'{"t": 1}']), differs(b"oops", [b'{"t": 1}'])
('$.t is missing where 1 of 1 neighbours have a number', '$ is not JSON where 1 of 1 neighbours are JSON')
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sources.stream import Record

_MOST_RECORDS = 20
"""Guilty records that are described, and request ids of one."""

_MOST_NEIGHBOURS = 100
_MOST_BYTES = 4 << 20
"""Of all neighbours that are parsed; one alone is parsed in any case."""

_MOST_PATHS = 5_000
_MOST_DEPTH = 20
_MOST_ELEMENTS = 50
_JSON, _NOTHING, _BINARY, _TEXT = "is JSON", "has no data", "is not UTF-8", "is not JSON"
_OF_MANY = {"": "are JSON", _NOTHING: "have no data", _BINARY: "are not UTF-8", _TEXT: "are not JSON"}
Kinds = Mapping[str, str]


def report(
    guilty: Sequence[Record],
    neighbours: Sequence[Record],
    *,
    error_type: str,
    error_message: str,
    attempts: int,
    request_ids: Sequence[str] = (),
) -> Mapping[str, Any]:
    """JSON-able: ``{"records": [{"position", "key", …, "first_difference"}], "neighbours": n}``."""
    shapes = _Neighbourhood([record.data for record in neighbours])
    return {
        "records": [
            {
                "position": str(record.position),
                "key": record.key,
                "size_bytes": len(record.data or b""),
                "error_type": error_type,
                "error_message": error_message[:1024],
                "attempts": attempts,
                "request_ids": list(request_ids)[-_MOST_RECORDS:],
                "first_difference": shapes.difference(record.data),
            }
            for record in guilty[:_MOST_RECORDS]
        ],
        "neighbours": len(neighbours),
    }


def differs(guilty: bytes | None, neighbours: Sequence[bytes | None]) -> str:
    """The first difference in a sentence; empty when there is none, or there are no neighbours."""
    return _Neighbourhood(neighbours).difference(guilty)


class _Neighbourhood:
    """The shapes of the neighbours, parsed once."""

    def __init__(self, neighbours: Sequence[bytes | None]) -> None:
        chosen = list(_chosen(neighbours))
        values = [_parsed(data) for data in chosen]
        self._count = len(values)
        self._flaws = {flaw for flaw, _ in values}
        self._shapes = [dict(_shape(value)) for flaw, value in values if not flaw]

    def difference(self, guilty: bytes | None) -> str:
        if not self._count or len(self._flaws) != 1:
            return ""
        flaw, value = _parsed(guilty)
        theirs = next(iter(self._flaws))
        if flaw != theirs:
            return f"$ {flaw or _JSON} where {self._all} {_OF_MANY[theirs]}"
        return "" if flaw else self._compare(value)

    def _compare(self, value: Any) -> str:
        ours = dict(_shape(value))
        paths: dict[str, None] = {path: None for shape in self._shapes[:1] for path in shape}
        for path in paths:
            kinds = {shape.get(path) for shape in self._shapes}
            if len(kinds) != 1 or (expected := next(iter(kinds))) is None:
                continue
            if (found := ours.get(path)) is None and _parent_is_there(path, ours):
                return f"{path} is missing where {self._all} have {expected}"
            if found is not None and found != expected and not _both_seen(found, expected):
                return f"{path} is {found} where {self._all} have {expected}"
        for path, found in ours.items():
            if len(ours) < _MOST_PATHS and not any(
                path in shape or len(shape) >= _MOST_PATHS for shape in self._shapes
            ):
                return f"{path} is {found} where none of {self._count} neighbours has it"
        return ""

    @property
    def _all(self) -> str:
        return f"{self._count} of {self._count} neighbours"


def _chosen(neighbours: Sequence[bytes | None]) -> Iterator[bytes | None]:
    total = 0
    for number, data in enumerate(neighbours[:_MOST_NEIGHBOURS]):
        total += len(data or b"")
        if number and total > _MOST_BYTES:
            return
        yield data


def _parsed(data: bytes | None) -> tuple[str, Any]:
    """What is wrong with the data as a whole, or their value."""
    if not data:
        return _NOTHING, None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _BINARY, None
    try:
        return "", json.loads(text)
    except (ValueError, RecursionError):
        return _TEXT, None


def _shape(value: Any) -> Iterator[tuple[str, str]]:
    """Each path of the document, in its order, with the kind of its value. Elements of an array share one path."""
    budget = [_MOST_PATHS]
    seen: dict[str, str] = {}
    _walk("$", value, 0, seen, budget)
    return iter(seen.items())


def _walk(path: str, value: Any, depth: int, seen: dict[str, str], budget: list[int]) -> None:
    kind = _kind(value)
    seen[path] = kind if seen.get(path, kind) == kind else "of several kinds"
    budget[0] -= 1
    if depth == _MOST_DEPTH:
        return
    if isinstance(value, dict):
        for key, child in value.items():
            if budget[0] <= 0:
                return
            _walk(
                f"{path}.{key}" if key.isidentifier() else f"{path}[{json.dumps(key)}]", child, depth + 1, seen, budget
            )
    elif isinstance(value, list):
        for child in value[:_MOST_ELEMENTS]:
            if budget[0] <= 0:
                return
            _walk(f"{path}[*]", child, depth + 1, seen, budget)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string" if value else "an empty string"
        case list():
            return "an array" if value else "an empty array"
        case _:
            return "an object" if value else "an empty object"


def _both_seen(found: str, expected: str) -> bool:
    """An empty value is unusual where none is empty; the reverse tells nothing."""
    return expected.startswith("an empty ") and expected.removeprefix("an empty ") in found


def _parent_is_there(path: str, ours: Mapping[str, str]) -> bool:
    """A key is missing of an object that is there; what is below a missing one is not missing by itself."""
    if path.endswith("[*]"):
        return False
    parents = [other for other in ours if path.startswith(other) and len(other) < len(path)]
    parent = max(parents, key=len, default="")
    return bool(parent) and ours[parent] in ("an object", "an empty object")
