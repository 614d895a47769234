"""What a function's answer says about the records of its batch. Pure.

Source: Lambda developer guide, "Configuring partial batch response": an empty or null answer or list is a success; an
identifier that is empty, null, under another name, or of no record of the batch makes the whole batch a failure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sources.invocation import Answered, Failed

MALFORMED = "BatchResponseMalformed"
"""The error type of an answer that cannot be understood, in reports and logs."""

REPORTED = "BatchItemFailure"
"""The error type of a record that the function's answer names as failed."""


@dataclass(frozen=True, slots=True)
class Passed:
    """The records are done."""

    result: Answered


@dataclass(frozen=True, slots=True)
class FailedFrom:
    """The records before ``position`` are done; that one failed by the function's own account."""

    position: int
    result: Answered


@dataclass(frozen=True, slots=True)
class FailedWhole:
    """Nobody knows which of the records is guilty. ``result`` is Answered when the answer was malformed."""

    result: Answered | Failed
    error_type: str
    message: str


Verdict = Passed | FailedFrom | FailedWhole


def failed(result: Failed) -> FailedWhole:
    return FailedWhole(result, result.error_type, result.message)


def malformed(result: Answered, reason: str) -> FailedWhole:
    return FailedWhole(
        result, MALFORMED, f'{reason}. Return {{}} or {{"batchItemFailures": [{{"itemIdentifier": …}}]}}'
    )


def verdict(result: Answered, positions: Collection[int], failure_key: Callable[[Any], int | None]) -> Verdict:
    """Of a function that reports batch item failures. ``failure_key`` is the stream's reading of an identifier.

    >>> from sources.stream import sequence_number
    >>> verdict(Answered(b'{"batchItemFailures": [{"itemIdentifier": "7"}]}'), [6, 7, 8], sequence_number).position
    7
    >>> verdict(Answered(b'{"batchItemFailures": [{"id": "7"}]}'), [6, 7, 8], sequence_number).error_type
    'BatchResponseMalformed'
    """
    if not result.payload.strip():
        return Passed(result)
    try:
        answer = json.loads(result.payload)
    except (ValueError, RecursionError):
        return malformed(result, "the answer is not JSON")
    if not answer and not isinstance(answer, bool | int | float):
        return Passed(result)
    return read(answer, result, positions, failure_key)


def read(
    answer: Any, result: Answered, positions: Collection[int], failure_key: Callable[[Any], int | None]
) -> Verdict:
    """The same, of an answer that is parsed already."""
    if not isinstance(answer, dict):
        return malformed(result, "the answer is neither empty nor an object")
    failures = answer.get("batchItemFailures")
    if not failures and (failures is None or isinstance(failures, list)):
        return Passed(result)
    if not isinstance(failures, list):
        return malformed(result, "batchItemFailures is not a list")
    named = []
    for failure in failures:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        position = failure_key(identifier) if identifier else None
        if position is None or position not in positions:
            return malformed(result, f"no record of the batch is what batchItemFailures names with {_short(failure)}")
        named.append(position)
    return FailedFrom(min(named), result)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:99] + "…"
