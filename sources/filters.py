"""Which records of an event source mapping reach the function. Source: Lambda developer guide, "Event filtering", the tables
of what happens when data and pattern are of different kinds.

A record is wanted when one of the filters matches it. Metadata are the record's keys as the function sees them, those of
Kinesis at the top. The data are the decoded bytes, found in patterns under a key of their own: ``body`` for SQS, ``data``
for Kinesis and Amazon MQ, ``dynamodb`` for DynamoDB, ``value`` for Kafka.

=================  =====================  ====================  =================
data               pattern on the data    queues, Kinesis, DDB  Kafka, Amazon MQ
=================  =====================  ====================  =================
text               string                 compared [1]_         compared
text               JSON                   not wanted            metadata decides
JSON               string                 not wanted [1]_       metadata decides
JSON               JSON                   compared              compared
not UTF-8          any                    not wanted            metadata decides
any                none                   metadata decides      metadata decides
=================  =====================  ====================  =================

.. [1] For Kinesis and DynamoDB such a pattern is refused when the mapping is created: :func:`check`.

Data that are a JSON object or array count as JSON; a JSON string, number, true, false or null counts as text.

>>> wanted = FilterCriteria(['{"body": {"n": [{"numeric": [">", 5]}]}}'], "body", Kind.SQS)
>>> wanted.accepts({"messageId": "1"}, b'{"n": 6}'), wanted.accepts({"messageId": "2"}, b"six")
(True, False)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sources.errors import InvalidPattern
from sources.exact_json import parse_json
from sources.mapping import Kind
from sources.pattern import Form, Pattern, compile_pattern

__all__ = ["DATA_KEYS", "FilterCriteria", "Kind", "Pattern", "check", "compile_pattern", "parse_json"]

MAX_FILTERS = 5
DATA_KEYS: Mapping[Kind, str] = MappingProxyType(
    {Kind.SQS: "body", Kind.KINESIS: "data", Kind.DYNAMODB: "dynamodb", Kind.MQ: "data", Kind.KAFKA: "value"}
)


def check(patterns: Sequence[str], kind: Kind, *, limit: int = MAX_FILTERS) -> None:
    """Raises InvalidPattern, naming the filter, for what a mapping cannot be created with."""
    if len(patterns) > limit:
        raise InvalidPattern(f"there are {len(patterns)} filters; the most is {limit}: join some with $or")
    for number, text in enumerate(patterns):
        try:
            pattern = compile_pattern(text)
            key = DATA_KEYS[kind]
            if kind in (Kind.KINESIS, Kind.DYNAMODB) and Form.TEXT in pattern.forms(key):
                raise InvalidPattern(
                    f"$.{key}: the data of {kind.value} are JSON: name the keys to compare in an object"
                )
        except InvalidPattern as error:
            raise InvalidPattern(f"filter {number}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Filter:
    """A pattern as it is applied to each form that the data may have; ``missing``: there are none."""

    missing: Pattern
    text: Pattern
    document: Pattern
    binary: Pattern
    about_data: bool


class FilterCriteria:
    """The filters of one mapping. ``patterns`` are JSON texts; without any, everything is wanted.

    Raises InvalidPattern.
    """

    __slots__ = ("_about_data", "_data_key", "_filters")

    def __init__(self, patterns: Sequence[str], data_key: str, kind: Kind) -> None:
        self._data_key = data_key
        self._filters = tuple(_compile(compile_pattern(text), data_key, kind) for text in patterns)
        self._about_data = any(each.about_data for each in self._filters)

    def accepts(self, metadata: Mapping[str, Any], data: bytes | None) -> bool:
        """Whether the function is to get the record. ``data`` None: it has none (a tombstone of Kafka).

        What ``metadata`` has under the data key is not looked at, except where ``data`` is None.
        """
        if not self._filters:
            return True
        if data is None or not self._about_data:
            return any(each.missing.matches(metadata) for each in self._filters)
        form, value = _decoded(data)
        if form is None:
            return any(each.binary.matches(metadata) for each in self._filters)
        record = {**metadata, self._data_key: value}
        if form is Form.TEXT:
            return any(each.text.matches(record) for each in self._filters)
        return any(each.document.matches(record) for each in self._filters)


def _compile(pattern: Pattern, key: str, kind: Kind) -> _Filter:
    """What the data's form makes impossible to compare is refuted or taken for granted, depending on the kind."""
    granted = kind in (Kind.KAFKA, Kind.MQ)
    text = pattern.assuming(key, Form.DOCUMENT, granted)
    document = pattern.assuming(key, Form.TEXT, granted)
    return _Filter(
        missing=pattern,
        text=text,
        document=document,
        binary=text.assuming(key, Form.TEXT, granted),
        about_data=bool(pattern.forms(key)),
    )


def _decoded(data: bytes) -> tuple[Form | None, Any]:
    """The form of the data and their value; no form when they are not UTF-8."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None, None
    try:
        value = parse_json(text)
    except ValueError:
        return Form.TEXT, text
    return (Form.DOCUMENT, value) if isinstance(value, dict | list) else (Form.TEXT, text)
