from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.invocation import Answered
from sources.partial import FailedFrom, FailedWhole, Passed, verdict
from sources.stream import sequence_number

POSITIONS = [10, 11, 12]


def of(payload: bytes) -> object:
    return verdict(Answered(payload), POSITIONS, sequence_number)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"null",
        b"{}",
        b'""',
        b"[]",
        b'{"batchItemFailures": []}',
        b'{"batchItemFailures": null}',
        b'{"a": 1}',
    ],
)
def test_an_empty_or_null_answer_or_list_is_a_success(payload: bytes) -> None:
    assert isinstance(of(payload), Passed)


@pytest.mark.parametrize(
    "payload",
    [
        b"oops",
        b"\xff",
        b"[" * 100_000,
        b'"ok"',
        b"false",
        b"0",
        b"1",
        b'[{"itemIdentifier": "10"}]',
        b'{"batchItemFailures": {}}',
        b'{"batchItemFailures": ""}',
        b'{"batchItemFailures": 0}',
        b'{"batchItemFailures": "10"}',
        b'{"batchItemFailures": [null]}',
        b'{"batchItemFailures": ["10"]}',
        b'{"batchItemFailures": [{}]}',
        b'{"batchItemFailures": [{"itemIdentifier": ""}]}',
        b'{"batchItemFailures": [{"itemIdentifier": null}]}',
        b'{"batchItemFailures": [{"itemIdentifier": "9"}]}',
        b'{"batchItemFailures": [{"itemIdentifier": "\xc2\xb2"}]}',
        b'{"batchItemFailures": [{"itemIdentifier": 10}]}',
        b'{"batchItemFailures": [{"itemidentifier": "10"}]}',
        b'{"batchItemFailures": [{"itemIdentifier": "10"}, {"itemIdentifier": "13"}]}',
    ],
)
def test_an_answer_that_cannot_be_understood_fails_the_batch_and_says_what_to_return(payload: bytes) -> None:
    answer = of(payload)
    assert isinstance(answer, FailedWhole)
    assert answer.error_type == "BatchResponseMalformed"
    assert "batchItemFailures" in answer.message
    assert answer.result.payload == payload


@given(st.lists(st.sampled_from(POSITIONS), min_size=1))
def test_the_lowest_named_position_counts(named: list[int]) -> None:
    payload = json.dumps({"batchItemFailures": [{"itemIdentifier": str(position)} for position in named]}).encode()
    answer = of(payload)
    assert isinstance(answer, FailedFrom)
    assert answer.position == min(named)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["batchItemFailures", "itemIdentifier", "x"]), x),
    )
)
def test_whatever_a_function_answers_is_one_of_three(value: object) -> None:
    assert isinstance(of(json.dumps(value).encode()), Passed | FailedFrom | FailedWhole)
