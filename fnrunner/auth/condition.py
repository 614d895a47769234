"""Conditions of IAM's policy language, as functions of the request's context.

::

    operator ─► set prefix (ForAllValues:, ForAnyValue:) · comparison · IfExists
    {"StringLike": {"aws:username": ["a*", "b*"]}}: keys are all needed, one of the values suffices

An operator that says *not* holds when none of its values does, and when the key is absent. What cannot be compared, such as
a text where a number belongs, is not equal, not less and not more.

Source: IAM, JSON policy elements: Condition operators; multivalued context keys.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from fnrunner.auth.pattern import Context, expand, matches, matches_arn_parts, plain

Compare = Callable[[str, str], bool]
"""Whether a value of the policy, expanded, agrees with one of the request."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """``negated``: none of the policy's values may agree. ``readable`` says whether a policy may have the value."""

    agree: Compare
    negated: bool = False
    readable: Callable[[str], object] = str


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator and one key. ``each`` is ``all`` or ``any`` for the set operators, else empty."""

    operator: str
    key: str
    values: tuple[str, ...]
    comparison: Comparison
    each: str = ""
    if_exists: bool = False


class InvalidCondition(ValueError):
    """The condition is none of IAM's."""


def read(operator: str, key: str, values: Sequence[str]) -> Condition:
    """Raises InvalidCondition for an operator that does not exist, or a value that it cannot compare.

    >>> read("ForAnyValue:StringLikeIfExists", "lambda:Layer", ["*"]).each
    'any'
    """
    prefix, colon, name = operator.rpartition(":")
    each = {"forallvalues": "all", "foranyvalue": "any", "": ""}.get(prefix.lower() if colon else "")
    if_exists = name.lower().endswith("ifexists")
    bare = name[: -len("IfExists")] if if_exists else name
    comparison = _COMPARISONS.get(bare.lower())
    if each is None or comparison is None or (if_exists and bare.lower() == "null"):
        raise InvalidCondition(f"Invalid Condition type : {operator}.")
    for value in values:
        if "${" not in value and not _can(comparison.readable, value):
            raise InvalidCondition(f"{value[:128]!r} is nothing that {operator} compares.")
    return Condition(operator, key.lower(), tuple(values), comparison, each, if_exists)


def holds(condition: Condition, context: Context) -> bool:
    """Whether the request satisfies the condition."""
    given = context.get(condition.key, ())
    comparison = condition.comparison
    if comparison is NULL:
        return any((value.lower() == "true") is not bool(given) for value in condition.values)
    if not given:
        return condition.if_exists or condition.each == "all" or (comparison.negated and condition.each != "any")
    wanted = [value for value in (expand(one, context) for one in condition.values) if value is not None]
    agreeing = (any(_agrees(comparison.agree, one, value) for one in wanted) for value in given)
    passed = (agrees is not comparison.negated for agrees in agreeing)
    if condition.each:
        return any(passed) if condition.each == "any" else all(passed)
    # without a set operator, several values in the request are as good as one of them; none may agree with a "not"
    return all(passed) if comparison.negated else any(passed)


def all_hold(conditions: Sequence[Condition], context: Context) -> bool:
    return all(holds(condition, context) for condition in conditions)


def _agrees(agree: Compare, wanted: str, given: str) -> bool:
    try:
        return agree(wanted, given)
    except (ValueError, InvalidOperation, OverflowError):
        return False


def _can(convert: Callable[[str], object], value: str) -> bool:
    try:
        convert(value)
    except (ValueError, InvalidOperation, OverflowError):
        return False
    return True


def number(text: str) -> Decimal:
    """Raises ValueError."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no number") from error
    if not value.is_finite():
        raise ValueError(f"{text!r} is no number")
    return value


def moment(text: str) -> datetime:
    """ISO 8601, without a zone in UTC, or epoch seconds. Raises ValueError.

    >>> moment("2024-05-01T00:00:00Z") == moment("1714521600") == moment("2024-05-01")
    True
    """
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), UTC)
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error


def _in_network(wanted: str, given: str) -> bool:
    address = ipaddress.ip_address(given)
    mapped = getattr(address, "ipv4_mapped", None)
    network = _network(plain(wanted))
    return (mapped or address) in network


def _numeric(compare: Callable[[Decimal, Decimal], bool], *, negated: bool = False) -> Comparison:
    return Comparison(lambda wanted, given: compare(number(given), number(plain(wanted))), negated, number)


def _dated(compare: Callable[[datetime, datetime], bool], *, negated: bool = False) -> Comparison:
    return Comparison(lambda wanted, given: compare(moment(given), moment(plain(wanted))), negated, moment)


def _equal(wanted: str, given: str) -> bool:
    return plain(wanted) == given


def _equal_without_case(wanted: str, given: str) -> bool:
    return plain(wanted).casefold() == given.casefold()


def _null(_: str, __: str) -> bool:
    raise ValueError("a key is null or not, it is compared with nothing")


NULL = Comparison(_null, readable=_boolean)

_COMPARISONS: Mapping[str, Comparison] = {
    "stringequals": Comparison(_equal),
    "stringnotequals": Comparison(_equal, negated=True),
    "stringequalsignorecase": Comparison(_equal_without_case),
    "stringnotequalsignorecase": Comparison(_equal_without_case, negated=True),
    "stringlike": Comparison(matches),
    "stringnotlike": Comparison(matches, negated=True),
    "arnequals": Comparison(matches_arn_parts),
    "arnlike": Comparison(matches_arn_parts),
    "arnnotequals": Comparison(matches_arn_parts, negated=True),
    "arnnotlike": Comparison(matches_arn_parts, negated=True),
    "numericequals": _numeric(lambda given, wanted: given == wanted),
    "numericnotequals": _numeric(lambda given, wanted: given == wanted, negated=True),
    "numericlessthan": _numeric(lambda given, wanted: given < wanted),
    "numericlessthanequals": _numeric(lambda given, wanted: given <= wanted),
    "numericgreaterthan": _numeric(lambda given, wanted: given > wanted),
    "numericgreaterthanequals": _numeric(lambda given, wanted: given >= wanted),
    "dateequals": _dated(lambda given, wanted: given == wanted),
    "datenotequals": _dated(lambda given, wanted: given == wanted, negated=True),
    "datelessthan": _dated(lambda given, wanted: given < wanted),
    "datelessthanequals": _dated(lambda given, wanted: given <= wanted),
    "dategreaterthan": _dated(lambda given, wanted: given > wanted),
    "dategreaterthanequals": _dated(lambda given, wanted: given >= wanted),
    "bool": Comparison(lambda wanted, given: _boolean(plain(wanted)) == _boolean(given), readable=_boolean),
    "binaryequals": Comparison(lambda wanted, given: _binary(plain(wanted)) == _binary(given), readable=_binary),
    "ipaddress": Comparison(_in_network, readable=_network),
    "notipaddress": Comparison(_in_network, negated=True, readable=_network),
    "null": NULL,
}
