"""The comparisons of the event pattern language: each compiled once into a test of one value.

A value is what a leaf of an event may be: a string, a :class:`~sources.exact_json.Number`, true, false or null. Strings are
compared by code points. Exact numbers are compared as they are written, ``numeric`` by what they count as.
Source: EventBridge user guide, "Comparison operators for use in event patterns"; Lambda developer guide, "Event filtering".

>>> test = compile_comparison({"anything-but": {"prefix": "init"}}, "$")
>>> test("running"), test("initializing"), test(None)
(True, False, True)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt
from typing import Any

from sources.errors import InvalidPattern
from sources.exact_json import Number

Test = Callable[[Any], bool]

LARGEST = 1e9
"""Beyond this, in either direction, ``numeric`` compares nothing."""

_ORDER = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq}


def compile_comparison(expression: Mapping[str, Any], where: str) -> Test:
    """The test of ``{operator: operand}``; ``exists`` is not a comparison. ``where`` is for the error.

    Raises InvalidPattern.
    """
    name, operand = single(expression, where)
    if (compiler := COMPARISONS.get(name)) is None:
        raise InvalidPattern(f"{where}: there is no operator {name!r}; there are {', '.join((*COMPARISONS, 'exists'))}")
    return compiler(operand, f"{where}.{name}")


def single(expression: Mapping[str, Any], where: str) -> tuple[str, Any]:
    """The only key of the object and its value. Raises InvalidPattern."""
    if len(expression) != 1:
        raise InvalidPattern(f"{where}: a comparison is an object with one operator; this one has {len(expression)}")
    return next(iter(expression.items()))


def _prefix(operand: Any, where: str) -> Test:
    if isinstance(operand, dict):
        start = _ignoring_case(operand, where).lower()
        return lambda value: isinstance(value, str) and value.lower().startswith(start)
    start = _text(operand, where)
    return lambda value: isinstance(value, str) and value.startswith(start)


def _suffix(operand: Any, where: str) -> Test:
    if isinstance(operand, dict):
        end = _ignoring_case(operand, where).lower()
        return lambda value: isinstance(value, str) and value.lower().endswith(end)
    end = _text(operand, where)
    return lambda value: isinstance(value, str) and value.endswith(end)


def _ignoring_case(operand: dict[str, Any], where: str) -> str:
    name, text = single(operand, where)
    if name != "equals-ignore-case":
        raise InvalidPattern(f"{where}: it takes a string or an object with equals-ignore-case, not {name!r}")
    return _text(text, f"{where}.{name}")


def _equals_ignore_case(operand: Any, where: str) -> Test:
    text = _text(operand, where).lower()
    return lambda value: isinstance(value, str) and value.lower() == text


def _wildcard(operand: Any, where: str) -> Test:
    parts = _wildcard_parts(_text(operand, where), where)
    if len(parts) == 1:
        return lambda value: bool(value == parts[0])
    first, *middle, last = parts
    shortest = sum(map(len, parts))

    def matches(value: Any) -> bool:
        # taking each part where it is first found leaves the most room for the next: no backtracking is needed
        if not isinstance(value, str) or len(value) < shortest or not value.startswith(first):
            return False
        at, end = len(first), len(value) - len(last)
        for part in middle:
            if (found := value.find(part, at, end)) < 0:
                return False
            at = found + len(part)
        return value.endswith(last)

    return matches


def _wildcard_parts(text: str, where: str) -> list[str]:
    r"""What stands between the asterisks: ``\*`` and ``\\`` stand for themselves."""
    parts, characters, after_star = [""], iter(text), False
    for character in characters:
        if character == "*":
            if after_star:
                raise InvalidPattern(f"{where}: two asterisks in a row; one matches any text already")
            parts.append("")
        elif character == "\\":
            if (escaped := next(characters, "")) not in ("*", "\\"):
                raise InvalidPattern(rf"{where}: a backslash stands before * or another backslash; write \\ for itself")
            parts[-1] += escaped
        else:
            parts[-1] += character
        after_star = character == "*"
    return parts


def _numeric(operand: Any, where: str) -> Test:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        raise InvalidPattern(f'{where}: it takes an array such as ["=", 5], ["<", 10] or [">", 0, "<=", 5]')
    first, *rest = (_limit(operand[at], operand[at + 1], where) for at in range(0, len(operand), 2))
    if rest and (first[0][0] != ">" or rest[0][0][0] != "<" or first[1] >= rest[0][1]):
        raise InvalidPattern(f'{where}: a range is a lower limit (">" or ">=") and then a higher one ("<" or "<=")')
    limits = [(_ORDER[name], limit) for name, limit in (first, *rest)]

    def matches(value: Any) -> bool:
        if not isinstance(value, Number) or not -LARGEST <= value.value <= LARGEST:
            return False
        return all(holds(value.value, limit) for holds, limit in limits)

    return matches


def _limit(name: Any, limit: Any, where: str) -> tuple[str, float]:
    if not isinstance(name, str) or name not in _ORDER:
        raise InvalidPattern(f"{where}: {name!r} is none of {' '.join(_ORDER)}")
    if not isinstance(limit, Number):
        raise InvalidPattern(f"{where}: {name!r} takes a number")
    if not -LARGEST <= limit.value <= LARGEST:
        raise InvalidPattern(f"{where}: {limit.text} is not between -1e9 and 1e9")
    return name, limit.value


def _cidr(operand: Any, where: str) -> Test:
    try:
        if "/" not in (text := _text(operand, where)):
            raise ValueError("the number of bits is missing")
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidPattern(f"{where}: it takes a block such as 10.0.0.0/24 or 2001:db8::/32: {error}") from error

    def matches(value: Any) -> bool:
        try:
            return isinstance(value, str) and ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return matches


def _anything_but(operand: Any, where: str) -> Test:
    """Whatever is not excluded, of any type. A value that is missing is none."""
    if isinstance(operand, dict):
        name, inner = single(operand, where)
        if name not in _EXCLUDABLE:
            raise InvalidPattern(f"{where}: it takes values or one of {', '.join(_EXCLUDABLE)}, not {name!r}")
        where = f"{where}.{name}"
        tests = [_EXCLUDABLE[name](_nonempty(each, where), where) for each in _listed(inner, where)]
        return lambda value: not any(test(value) for test in tests)
    values = _listed(operand, where)
    if not (all(isinstance(v, str) for v in values) or all(isinstance(v, Number) for v in values)):
        raise InvalidPattern(f"{where}: it takes strings or numbers, all of one type")
    excluded = frozenset(values)
    return lambda value: value not in excluded


def _listed(operand: Any, where: str) -> list[Any]:
    values = operand if isinstance(operand, list) else [operand]
    if not values:
        raise InvalidPattern(f"{where}: the array is empty; give it a value")
    return values


def _nonempty(operand: Any, where: str) -> Any:
    if operand == "":
        raise InvalidPattern(f"{where}: the string is empty, which would exclude every string")
    return operand


def _text(operand: Any, where: str) -> str:
    if not isinstance(operand, str):
        raise InvalidPattern(f"{where}: it takes a string")
    return operand


_EXCLUDABLE: Mapping[str, Callable[[Any, str], Test]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}

COMPARISONS: Mapping[str, Callable[[Any, str], Test]] = {
    **_EXCLUDABLE,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "cidr": _cidr,
}
"""Each operator and what compiles its operand."""
