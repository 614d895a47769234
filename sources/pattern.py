"""The event pattern language: which events match a pattern. Compiled once, then a pure function of the event.

A pattern is an object. Its keys are compared with the event's keys of the same name, all of which must match. The value of
a key is an object, compared with the object there, or an array, of whose elements one must match: a string, a number, true,
false, null, or a comparison (:mod:`sources.comparison`). ``$or`` is an array of patterns, of which one must match. Where
the event has an array, one of its elements must match, nested arrays included; what is said about an object holds of one
and the same element. ``exists: false`` is about the whole event: nothing stands at this path, no object counts, since only
leaves do, and an empty array is nothing. Source: EventBridge user guide, "Creating event patterns"; Lambda developer
guide, "Control which events Lambda sends to your function".

>>> pattern = compile_pattern('{"state": [{"anything-but": "idle"}], "$or": [{"n": [1]}, {"tags": [{"prefix": "a"}]}]}')
>>> pattern.matches({"state": "busy", "tags": ["x", "ab"]}), pattern.matches({"state": "idle", "n": 1})
(True, False)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from sources.comparison import COMPARISONS, Test, compile_comparison, single
from sources.errors import InvalidPattern
from sources.exact_json import Number, parse_json, token

MAX_CHARACTERS = 4096
OPERATORS = frozenset((*COMPARISONS, "exists"))
_SCALARS = (str, Number, bool, type(None))
_NOTHING: Mapping[str, Any] = {}


class Form(Enum):
    """What a pattern says about a key: TEXT compares a value, DOCUMENT an object's keys."""

    TEXT = "string"
    DOCUMENT = "JSON"


class _Condition(Protocol):
    """``candidate`` is the object the condition is about, ``event`` the whole event."""

    def holds(self, candidate: Mapping[str, Any], event: Mapping[str, Any]) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One of ``exact`` or one of ``tests`` holds of a value at ``key``; ``absent``: or nothing is at ``path`` at all."""

    path: tuple[str, ...]
    exact: frozenset[Any]
    tests: tuple[Test, ...]
    absent: bool

    def holds(self, candidate: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        value = candidate.get(self.path[-1], _NOTHING)
        if type(value) in _SCALARS:
            return self._fits(value)
        for each in _values(value):
            if isinstance(each, _SCALARS) and self._fits(each):
                return True
        return self.absent and not _anything_at(event, self.path)

    def _fits(self, value: Any) -> bool:
        if value in self.exact:
            return True
        for test in self.tests:  # noqa: SIM110  -- loops, here and below: generators would double the time
            if test(value):
                return True
        return False


@dataclass(frozen=True, slots=True)
class _Object:
    """All of ``conditions`` hold of one object at ``key``. Where there is none, of the empty object, for ``exists: false``."""

    key: str
    conditions: tuple[_Condition, ...]

    def holds(self, candidate: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        value = candidate.get(self.key, _NOTHING)
        if type(value) is dict:
            return _all_hold(self.conditions, value, event)
        found = [each for each in _values(value) if isinstance(each, Mapping)]
        return any(_all_hold(self.conditions, each, event) for each in found or (_NOTHING,))


@dataclass(frozen=True, slots=True)
class _Any:
    """All of the conditions of one branch hold of the same object."""

    branches: tuple[tuple[_Condition, ...], ...]

    def holds(self, candidate: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        return any(_all_hold(branch, candidate, event) for branch in self.branches)


@dataclass(frozen=True, slots=True)
class _Always:
    answer: bool

    def holds(self, candidate: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        return self.answer


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern."""

    conditions: tuple[_Condition, ...]

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether the event is wanted. Numbers in it are those of :func:`~sources.exact_json.parse_json`, or Python's."""
        return _all_hold(self.conditions, event, event)

    def forms(self, key: str) -> frozenset[Form]:
        """In which ways the pattern speaks of this key of the event, branches of ``$or`` included."""
        return frozenset(form for condition in _flat(self.conditions) if (form := _form(condition, key)))

    def assuming(self, key: str, form: Form, answer: bool) -> Pattern:
        """The pattern in which what it says about the key in that form is taken for granted, or for refuted."""
        return replace(self, conditions=_assuming(self.conditions, key, form, answer))

    def leaves(self) -> list[tuple[tuple[str, ...], int]]:
        """The path of each array in the pattern and how many elements it has."""
        return list(_leaves(self.conditions))


def compile_pattern(text: str, *, operators: frozenset[str] = OPERATORS, limit: int = MAX_CHARACTERS) -> Pattern:
    """Raises InvalidPattern, whose message says where in the pattern (``$.detail.state[0]``) and what would be right there.

    ``operators`` narrows what the pattern may use; ``limit`` is the greatest length in characters.
    """
    if len(text) > limit:
        raise InvalidPattern(f"the pattern has {len(text)} characters; the most is {limit}")
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise InvalidPattern(f"the pattern is no JSON: {error}") from error
    if not isinstance(tree, dict):
        raise InvalidPattern('$: a pattern is an object such as {"body": {"state": ["done"]}}')
    return Pattern(_Compiler(operators).object(tree, ()))


class _Compiler:
    def __init__(self, operators: frozenset[str]) -> None:
        self._operators = operators

    def object(self, tree: Mapping[str, Any], path: tuple[str, ...]) -> tuple[_Condition, ...]:
        if not tree:
            raise InvalidPattern(f"{_where(path)}: the object is empty; name a key to compare")
        return tuple(self._condition(value, (*path, key)) for key, value in tree.items())

    def _condition(self, value: Any, path: tuple[str, ...]) -> _Condition:
        if path[-1] == "$or" and isinstance(value, list) and _are_branches(value):
            return self._any(value, path)
        if isinstance(value, dict):
            return _Object(path[-1], self.object(value, path))
        if isinstance(value, list):
            return self._leaf(value, path)
        raise InvalidPattern(f"{_where(path)}: it takes an object, or an array with what the value may be")

    def _any(self, branches: list[Any], path: tuple[str, ...]) -> _Condition:
        if len(branches) < 2:
            raise InvalidPattern(f"{_where(path)}: it takes two patterns or more")
        return _Any(tuple(self.object(branch, path[:-1]) for branch in branches))

    def _leaf(self, elements: list[Any], path: tuple[str, ...]) -> _Leaf:
        if not elements:
            raise InvalidPattern(f"{_where(path)}: the array is empty; say what the value may be")
        exact: set[Any] = set()
        tests: list[Test] = []
        absent = False
        for number, element in enumerate(elements):
            where = f"{_where(path)}[{number}]"
            if isinstance(element, list):
                raise InvalidPattern(f"{where}: an array stands in an array; write its elements instead")
            if not isinstance(element, dict):
                exact.add(element)
                continue
            self._check_allowed(element, where)
            if "exists" in element:
                present = _exists(element, where)
                absent = absent or not present
                tests += [_anything] if present else []
            else:
                tests.append(compile_comparison(element, where))
        return _Leaf(path, frozenset(exact), tuple(tests), absent)

    def _check_allowed(self, comparison: Mapping[str, Any], where: str) -> None:
        used = {*comparison, *(comparison["anything-but"] if _nests(comparison) else ())}
        if refused := sorted((used & OPERATORS) - self._operators):
            raise InvalidPattern(
                f"{where}: {refused[0]} cannot be used here; there are {', '.join(sorted(self._operators))}"
            )


def _nests(comparison: Mapping[str, Any]) -> bool:
    return isinstance(comparison.get("anything-but"), dict)


def _are_branches(value: list[Any]) -> bool:
    """Objects that are no comparisons: otherwise ``$or`` is the name of a key, as any other."""
    return bool(value) and all(isinstance(each, dict) and not OPERATORS & each.keys() for each in value)


def _exists(comparison: Mapping[str, Any], where: str) -> bool:
    _, present = single(comparison, where)
    if not isinstance(present, bool):
        raise InvalidPattern(f"{where}.exists: it takes true or false")
    return present


def _anything(value: Any) -> bool:
    return True


def _where(path: tuple[str, ...]) -> str:
    return ".".join(("$", *path))


def _all_hold(conditions: tuple[_Condition, ...], candidate: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    for condition in conditions:  # noqa: SIM110
        if not condition.holds(candidate, event):
            return False
    return True


def _values(value: Any) -> Iterator[Any]:
    """What stands there: the elements of arrays, however deep, or the value itself."""
    if not isinstance(value, list | tuple):
        yield token(value)
        return
    waiting = list(reversed(value))
    while waiting:
        if isinstance(each := waiting.pop(), list | tuple):
            waiting.extend(reversed(each))
        else:
            yield token(each)


def _anything_at(value: Any, path: tuple[str, ...]) -> bool:
    """Whether a leaf stands at the path, through any element of the arrays on the way."""
    if not path:
        return any(isinstance(each, _SCALARS) for each in _values(value))
    return any(
        path[0] in each and _anything_at(each[path[0]], path[1:])
        for each in _values(value)
        if isinstance(each, Mapping)
    )


def _flat(conditions: tuple[_Condition, ...]) -> Iterator[_Condition]:
    """The conditions on keys of the same object, those within ``$or`` included."""
    for condition in conditions:
        if isinstance(condition, _Any):
            for branch in condition.branches:
                yield from _flat(branch)
        else:
            yield condition


def _form(condition: _Condition, key: str) -> Form | None:
    match condition:
        case _Leaf(path=(only,)) if only == key:
            return Form.TEXT
        case _Object(key=name) if name == key:
            return Form.DOCUMENT
    return None


def _assuming(conditions: tuple[_Condition, ...], key: str, form: Form, answer: bool) -> tuple[_Condition, ...]:
    def assumed(condition: _Condition) -> _Condition:
        if isinstance(condition, _Any):
            return _Any(tuple(_assuming(branch, key, form, answer) for branch in condition.branches))
        return _Always(answer) if _form(condition, key) is form else condition

    return tuple(map(assumed, conditions))


def _leaves(conditions: tuple[_Condition, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    for condition in _flat(conditions):
        match condition:
            case _Leaf(path, exact, tests, absent):
                yield path, len(exact) + len(tests) + absent
            case _Object(_, inner):
                yield from _leaves(inner)
