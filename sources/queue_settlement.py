"""What becomes of the messages of a batch, from what its invocation came to. Pure.

=====================================================  ==========================================
the function                                            the messages
=====================================================  ==========================================
answered, no report asked for                           are all deleted
answered nothing, ``null``, ``""``, ``{}``, an empty    are all deleted
or null ``batchItemFailures``, or none
named some in ``batchItemFailures``                     are released as far as named, else deleted
answered what is no report: no JSON object, an item     are all released
without ``itemIdentifier``, an empty, null or
unknown one
failed or crashed                                       are all released
=====================================================  ==========================================

Source: Lambda developer guide, "Implementing partial batch responses", success and failure conditions.

>>> failed_ids(b'{"batchItemFailures":[{"itemIdentifier":"a"}]}') == {"a"}, failed_ids(b"null") == set()
(True, True)
>>> failed_ids(b'{"batchItemFailures":[{"itemIdentifier":""}]}') is None
True
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sources.inbox import Received
from sources.invocation import Answered, Crashed, Failed

MAX_REASON_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """``deleted`` are done with, ``released`` failed. ``reason`` says why, for a person; empty when none was released."""

    deleted: tuple[Received, ...]
    released: tuple[Received, ...] = ()
    reason: str = ""


def verdict(result: Answered | Failed | Crashed, messages: Sequence[Received], *, report: bool) -> Verdict:
    """``report``: the mapping has ReportBatchItemFailures."""
    everything = tuple(messages)
    if not isinstance(result, Answered):
        return Verdict((), everything, reason_of(result))
    if not report:
        return Verdict(everything)
    failed = failed_ids(result.payload)
    if failed is None or not failed <= {message.id for message in everything}:
        return Verdict((), everything, "the function's batchItemFailures cannot be read, or name unknown messages")
    released = tuple(message for message in everything if message.id in failed)
    deleted = tuple(message for message in everything if message.id not in failed)
    return Verdict(deleted, released, "the function named it in batchItemFailures" if released else "")


def failed_ids(payload: bytes) -> frozenset[str] | None:
    """The identifiers in an answer; None when it is no report."""
    if not payload.strip():
        return frozenset()
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if answer is None or answer == "":
        return frozenset()
    if not isinstance(answer, dict):
        return None
    items = answer.get("batchItemFailures")
    if items is None:
        return frozenset()
    identifiers = [_identifier(item) for item in items] if isinstance(items, list) else [None]
    named = frozenset(each for each in identifiers if each is not None)
    return None if None in identifiers else named


def _identifier(item: Any) -> str | None:
    value = item.get("itemIdentifier") if isinstance(item, dict) else None
    return value if isinstance(value, str) and value else None


def reason_of(result: Failed | Crashed) -> str:
    """In one line, not too long for a header.

    >>> reason_of(Failed("ValueError", "no such thing"))
    'ValueError: no such thing'
    """
    if isinstance(result, Crashed):
        return result.reason[:MAX_REASON_CHARS]
    text = f"{result.error_type}: {result.message}" if result.message else result.error_type
    return text[:MAX_REASON_CHARS]
