"""Read JSON and keep each number as it was written, since filters tell 300 from 300.0.

>>> parse_json(b'{"price": 3.0e2, "tags": [1, true, null]}')
{'price': Number('3.0e2'), 'tags': [Number('1'), True, None]}
"""

from __future__ import annotations

import json
from typing import Any


class Number:
    """A JSON number by its text. Equal only when written alike; ``value`` is what it counts as."""

    __slots__ = ("text", "value")

    def __init__(self, text: str) -> None:
        self.text = text
        self.value = float(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash((Number, self.text))

    def __repr__(self) -> str:
        return f"Number({self.text!r})"


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=_constant)


def parse_json(data: bytes | str) -> Any:
    """The value of the JSON document, which is UTF-8; of duplicate keys the last counts.

    Numbers are :class:`Number`. Raises ValueError for anything else than one JSON document, too deep a one included.
    """
    try:
        return _DECODER.decode(data if isinstance(data, str) else data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def token(value: Any) -> Any:
    """A value of a Python mapping as :func:`parse_json` would give it; the numbers of Python are written as JSON has them.

    >>> token(5), token(True), token("5")
    (Number('5'), True, '5')
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Number(repr(value))
    return value
