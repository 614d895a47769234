from __future__ import annotations

import json
from typing import Any

import pytest

from sources.inbox import Received
from sources.invocation import Answered, Crashed, Failed
from sources.queue_settlement import MAX_REASON_CHARS, verdict

A, B = (Received(name, {}, b"", 1, None) for name in "ab")


def of(payload: bytes, *, report: bool = True) -> tuple[list[str], list[str]]:
    decided = verdict(Answered(payload), [A, B], report=report)
    assert bool(decided.reason) == bool(decided.released)
    return [each.id for each in decided.deleted], [each.id for each in decided.released]


def items(*identifiers: Any) -> bytes:
    return json.dumps({"batchItemFailures": [{"itemIdentifier": each} for each in identifiers]}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"null",
        b'""',
        b"{}",
        b'{"batchItemFailures":[]}',
        b'{"batchItemFailures":null}',
        b'{"statusCode":200}',
    ],
)
def test_an_empty_report_deletes_all(payload: bytes) -> None:
    assert of(payload) == (["a", "b"], [])


@pytest.mark.parametrize(
    "payload",
    [
        b"not JSON", b"\xff", b'"ok"', b"7", b"[]", b'{"batchItemFailures":{}}', b'{"batchItemFailures":"a"}',
        b'{"batchItemFailures":["a"]}', b'{"batchItemFailures":[{"id":"a"}]}', b'{"batchItemFailures":[null]}',
        items(""), items(None), items(7), items("unknown"), items("a", "unknown"), items("a", ""), b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_report_releases_all(payload: bytes) -> None:
    assert of(payload) == ([], ["a", "b"])


def test_what_is_named_is_released_and_the_rest_deleted() -> None:
    assert of(items("b")) == (["a"], ["b"])
    assert of(items("b", "b", "a")) == ([], ["a", "b"])


def test_without_reports_an_answer_is_not_looked_at() -> None:
    assert of(items("a"), report=False) == (["a", "b"], [])
    assert of(b"not JSON", report=False) == (["a", "b"], [])


@pytest.mark.parametrize("result", [Failed("ValueError", "no"), Crashed("the worker died")])
def test_a_failure_releases_all(result: Failed | Crashed) -> None:
    decided = verdict(result, [A, B], report=True)
    assert (decided.deleted, decided.released) == ((), (A, B))
    assert decided.reason in ("ValueError: no", "the worker died")


def test_a_reason_fits_a_header() -> None:
    assert len(verdict(Failed("E", "x" * 9999), [A], report=False).reason) == MAX_REASON_CHARS
