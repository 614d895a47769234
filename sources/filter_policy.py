"""Which messages of a topic reach a subscription. Source: SNS developer guide, "Amazon SNS subscription filter policies".

A policy is a pattern (:mod:`sources.pattern`) about the message's attributes, or about its body. Attributes are strings,
numbers and ``String.Array`` (JSON arrays of strings, numbers, true, false and null); binary ones are not looked at. A body
that is no JSON object matches no policy. SNS knows no wildcards. Its bounds: five keys, 150 combinations of values, 256 KB.

>>> policy = FilterPolicy('{"store": ["north"], "price": [{"numeric": [">=", 100]}]}')
>>> policy.accepts({"store": ("String.Array", '["south", "north"]'), "price": ("Number", "100.5")}, b"a message")
True
>>> policy.accepts({"store": ("String", "north")}, b"a message")
False
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import prod
from typing import Any

from sources.errors import InvalidPattern
from sources.exact_json import Number, parse_json
from sources.pattern import OPERATORS, Pattern, compile_pattern

Attribute = tuple[str, str]
"""Type (``String``, ``String.Array``, ``Number``, ``Binary``; a label may follow after a dot) and value, as text."""

MAX_KEYS = 5
MAX_COMBINATIONS = 150
MAX_CHARACTERS = 256 * 1024
_OPERATORS = OPERATORS - {"wildcard"}


class Scope(StrEnum):
    """What a policy is about; the values are SNS's ``FilterPolicyScope``."""

    ATTRIBUTES = "MessageAttributes"
    BODY = "MessageBody"


class FilterPolicy:
    """``text`` is the policy as JSON. Raises InvalidPattern."""

    __slots__ = ("_pattern", "_scope")

    def __init__(self, text: str, scope: Scope = Scope.ATTRIBUTES) -> None:
        self._scope = scope
        self._pattern = compile_pattern(text, operators=_OPERATORS, limit=MAX_CHARACTERS)
        _check_bounds(self._pattern, scope)

    def accepts(self, attributes: Mapping[str, Attribute], body: bytes) -> bool:
        """Whether the subscription is to get the message."""
        if self._scope is Scope.ATTRIBUTES:
            values = {name: _value(*attribute) for name, attribute in attributes.items() if _comparable(attribute[0])}
            return self._pattern.matches(values)
        try:
            document = parse_json(body)
        except ValueError:
            return False
        return isinstance(document, dict) and self._pattern.matches(document)


def _check_bounds(pattern: Pattern, scope: Scope) -> None:
    leaves = pattern.leaves()
    if len(leaves) > MAX_KEYS:
        raise InvalidPattern(f"the policy has {len(leaves)} keys; the most is {MAX_KEYS}")
    if scope is Scope.ATTRIBUTES and (nested := [path for path, _ in leaves if len(path) > 1]):
        raise InvalidPattern(
            f"{'.'.join(('$', *nested[0]))}: attributes have no keys within; use the scope {Scope.BODY} for the body"
        )
    combinations = prod(count * len(path) for path, count in leaves)
    if combinations > MAX_COMBINATIONS:
        raise InvalidPattern(
            f"the policy has {combinations} combinations (the product over all keys of values times depth); "
            f"the most is {MAX_COMBINATIONS}"
        )


def _comparable(kind: str) -> bool:
    return kind.partition(".")[0] in ("String", "Number")


def _value(kind: str, text: str) -> Any:
    """What is compared; what is not of the type that it says is compared as the text that it is."""
    if kind.partition(".")[0] == "Number" or kind == "String.Array":
        try:
            value = parse_json(text)
        except ValueError:
            return text
        if isinstance(value, list if kind == "String.Array" else Number):
            return value
    return text
