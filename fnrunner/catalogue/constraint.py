"""The sentences of Lambda's ValidationException, each made when its constraint is broken.

>>> between("timeout", 1200, 1, 900)
["Value '1200' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900"]
>>> between("timeout", 3, 1, 900)
[]
>>> one_of("mode", "On", ("Active", "PassThrough"))
["Value 'On' at 'mode' failed to satisfy constraint: Member must satisfy enum value set: [Active, PassThrough]"]
"""

from __future__ import annotations

import re
from collections.abc import Collection

Problems = list[str]


def broken(path: str, value: object, rule: str) -> str:
    """One sentence; a ``value`` of None shows as null."""
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {rule}"


def between(path: str, value: float, low: int, high: int) -> Problems:
    shown = f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
    if value < low:
        return [broken(path, shown, f"Member must have value greater than or equal to {low}")]
    if value > high:
        return [broken(path, shown, f"Member must have value less than or equal to {high}")]
    return []


def at_most(path: str, value: str, length: int) -> Problems:
    if len(value) > length:
        return [broken(path, value, f"Member must have length less than or equal to {length}")]
    return []


def matches(path: str, value: str, pattern: str) -> Problems:
    if re.fullmatch(pattern, value) is None:
        return [broken(path, value, f"Member must satisfy regular expression pattern: {pattern}")]
    return []


def one_of(path: str, value: str, choices: Collection[str]) -> Problems:
    if value not in choices:
        return [broken(path, value, f"Member must satisfy enum value set: [{', '.join(choices)}]")]
    return []


def present(path: str, value: object) -> Problems:
    return [] if value else [broken(path, None, "Member must not be null")]
