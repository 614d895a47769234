from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.poison import differs, report
from sources.stream import Record

NOTHING = object()
USUAL: list[Any] = [{"id": n, "place": {"city": "Rome", "tags": ["a", "b"]}, "note": "x"} for n in range(1, 5)]


def guilty(**changes: Any) -> Any:
    return {**USUAL[0], **changes}


def compared(value: Any, neighbours: list[Any] = USUAL) -> str:
    data = None if value is NOTHING else value if isinstance(value, bytes) else json.dumps(value).encode()
    return differs(data, [json.dumps(neighbour).encode() for neighbour in neighbours])


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (guilty(), ""),
        (guilty(id=10**9), ""),
        (guilty(id="1"), "$.id is a string where 4 of 4 neighbours have a number"),
        (guilty(id=None), "$.id is null where 4 of 4 neighbours have a number"),
        (guilty(id=True), "$.id is a boolean where 4 of 4 neighbours have a number"),
        (guilty(note=""), "$.note is an empty string where 4 of 4 neighbours have a string"),
        (guilty(more=1), "$.more is a number where none of 4 neighbours has it"),
        ({"id": 1, "note": "x"}, "$.place is missing where 4 of 4 neighbours have an object"),
        (guilty(place={"tags": ["a"]}), "$.place.city is missing where 4 of 4 neighbours have a string"),
        (
            guilty(place={"city": "Rome", "tags": []}),
            "$.place.tags is an empty array where 4 of 4 neighbours have an array",
        ),
        (
            guilty(place={"city": "Rome", "tags": ["a", 1]}),
            "$.place.tags[*] is of several kinds where 4 of 4 neighbours have a string",
        ),
        (guilty(place={"city": 1, "tags": [1]}), "$.place.city is a number where 4 of 4 neighbours have a string"),
        (guilty(**{"odd key": 1}), '$["odd key"] is a number where none of 4 neighbours has it'),
        ([1], "$ is an array where 4 of 4 neighbours have an object"),
        (b"oops", "$ is not JSON where 4 of 4 neighbours are JSON"),
        (b"\xff\xfe", "$ is not UTF-8 where 4 of 4 neighbours are JSON"),
        (b"[" * 100_000, "$ is not JSON where 4 of 4 neighbours are JSON"),
        (b"", "$ has no data where 4 of 4 neighbours are JSON"),
        (NOTHING, "$ has no data where 4 of 4 neighbours are JSON"),
    ],
)  # fmt: skip
def test_the_first_difference_is_said(value: Any, sentence: str) -> None:
    assert compared(value) == sentence


def test_what_the_neighbours_do_not_agree_on_is_no_difference() -> None:
    assert compared({"a": 1}, [{"a": "x"}, {"a": None}]) == ""
    assert compared({}, [{"a": 1}, {}]) == ""
    assert compared({"a": "x"}, [{"a": ""}, {"a": ""}]) == ""
    assert differs(b'{"a": 1}', [b"oops", b'{"a": 2}']) == ""


def test_without_neighbours_there_is_nothing_to_say() -> None:
    assert compared({"a": 1}, []) == ""


def test_text_among_text_is_usual_and_json_is_not() -> None:
    assert differs(b"hello", [b"some text", b"more text"]) == ""
    assert differs(b"{}", [b"some text"]) == "$ is JSON where 1 of 1 neighbours are not JSON"
    assert differs(b"\xff", [b"some text"]) == "$ is not UTF-8 where 1 of 1 neighbours are not JSON"


def test_the_report_says_which_records_and_what_they_failed_with() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    records = [Record(n, f"k{n}", at, {}, json.dumps({"n": n or "0"}).encode()) for n in range(4)]
    found = report(
        records[:1], records[1:], error_type="TypeError", error_message="x" * 5000, attempts=3, request_ids=["a", "b"]
    )
    assert json.loads(json.dumps(found)) == {
        "records": [
            {
                "position": "0",
                "key": "k0",
                "size_bytes": 10,
                "error_type": "TypeError",
                "error_message": "x" * 1024,
                "attempts": 3,
                "request_ids": ["a", "b"],
                "first_difference": "$.n is a string where 3 of 3 neighbours have a number",
            }
        ],
        "neighbours": 3,
    }


def test_records_of_a_megabyte_are_compared_in_bounded_time() -> None:
    large = json.dumps({f"key{n}": n for n in range(60_000)}).encode()
    assert len(large) > 900_000
    began = time.process_time()
    differs(large, [large] * 100)
    assert time.process_time() - began < 3


@given(st.binary(max_size=50), st.lists(st.binary(max_size=50), max_size=5))
def test_any_bytes_can_be_compared(data: bytes, neighbours: list[bytes]) -> None:
    assert isinstance(differs(data, neighbours), str)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(values, st.integers(1, 4))
def test_what_is_like_its_neighbours_differs_in_nothing(value: Any, count: int) -> None:
    assert compared(value, [value] * count) == ""
