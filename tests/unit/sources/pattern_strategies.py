"""Patterns and events of few keys and few values, so that they have something to say about each other."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

Json = Any
KEYS = ("a", "b", "c")
TEXTS = (
    "",
    "a",
    "ab",
    "aB",
    "AB",
    "b",
    "ba",
    "aab",
    "a*b",
    "a\\b",
    "10.0.0.7",
    "10.0.1.7",
    "2001:db8::7",
    "1",
    "é",
    "É",
)
NUMBERS = ("0", "1", "1.0", "1e0", "-1", "5", "5.5", "300", "3.0e2", "1000000000", "1000000001", "123456789012")


class Raw(str):
    """A number as it is written."""

    __slots__ = ()


def dump(value: Json) -> str:
    """JSON text, with each number as it was drawn."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{dump(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value)


texts = st.sampled_from(TEXTS)
numbers = st.sampled_from(NUMBERS).map(Raw)
scalars = st.one_of(texts, numbers, st.sampled_from([True, False, None]))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)
events = st.dictionaries(st.sampled_from(KEYS), values, max_size=3)

_limits = st.sampled_from([Raw(n) for n in ("-1", "0", "1", "5", "5.5", "300")])
_blocks = st.sampled_from(["10.0.0.0/24", "10.0.0.9/16", "0.0.0.0/0", "2001:db8::/32", "2001:db8::7/128"])
_wildcards = st.sampled_from(["*", "a*", "*b", "a*b", "*a*", "a*b*", r"a\*b", r"a\\b", r"*\**", "*10*", "ab", "a*a*b"])
_filled = texts.filter(bool)


@st.composite
def _numeric(draw: st.DrawFn) -> list[Json]:
    low, high = sorted([draw(_limits), draw(_limits)], key=float)
    if float(low) < float(high) and draw(st.booleans()):
        return [draw(st.sampled_from([">", ">="])), low, draw(st.sampled_from(["<", "<="])), high]
    return [draw(st.sampled_from(["<", "<=", "=", ">", ">="])), low]


def _one_or_more(each: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.one_of(each, st.lists(each, min_size=1, max_size=3))


_ignoring = texts.map(lambda text: {"equals-ignore-case": text})
_excluded = st.one_of(
    _one_or_more(texts),
    _one_or_more(numbers),
    *(
        _one_or_more(operand).map(lambda value, name=name: {name: value})
        for name, operand in (
            ("prefix", _filled),
            ("suffix", _filled),
            ("equals-ignore-case", _filled),
            ("wildcard", _wildcards),
        )
    ),
)
comparisons = st.one_of(
    st.one_of(texts, _ignoring).map(lambda value: {"prefix": value}),
    st.one_of(texts, _ignoring).map(lambda value: {"suffix": value}),
    texts.map(lambda value: {"equals-ignore-case": value}),
    _wildcards.map(lambda value: {"wildcard": value}),
    _excluded.map(lambda value: {"anything-but": value}),
    _numeric().map(lambda value: {"numeric": value}),
    _blocks.map(lambda value: {"cidr": value}),
    st.booleans().map(lambda value: {"exists": value}),
)
leaves = st.lists(st.one_of(scalars, comparisons), min_size=1, max_size=3)


def _object(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    plain = st.dictionaries(st.sampled_from(KEYS), st.one_of(leaves, inner), min_size=1, max_size=2)
    branches = st.lists(plain, min_size=2, max_size=3)
    return st.one_of(plain, st.tuples(plain, branches).map(lambda both: {**both[0], "$or": both[1]}))


patterns = st.recursive(st.dictionaries(st.sampled_from(KEYS), leaves, min_size=1, max_size=2), _object, max_leaves=3)
"""Objects only: ``st.recursive`` puts patterns within patterns."""


@st.composite
def patterns_about(draw: st.DrawFn, event: Json) -> Json:
    """A pattern that follows the event's own paths and values: most of them match, or nearly."""
    keys = draw(st.lists(st.sampled_from(sorted(event)), min_size=1, max_size=2, unique=True)) if event else []
    pattern = {key: draw(_about(event[key])) for key in keys}
    return pattern or draw(patterns)


@st.composite
def _about(draw: st.DrawFn, value: Json) -> Json:
    while isinstance(value, list) and value:
        value = draw(st.sampled_from(value))
    if isinstance(value, dict) and value:
        return draw(patterns_about(value))
    elements = draw(leaves)
    return [*elements, value] if not isinstance(value, list | dict) and draw(st.integers(0, 3)) else elements
