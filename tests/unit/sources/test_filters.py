"""What of a record reaches the function: the table of data against pattern, for each kind of source."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.errors import InvalidPattern
from sources.filters import DATA_KEYS, MAX_FILTERS, FilterCriteria, check
from sources.mapping import Kind

TEXT, DOCUMENT, BINARY = b"done", b'{"state": "done"}', b"\xff\xfe"
ON_TEXT: Any = ["done"]
ON_DOCUMENT: Any = {"state": ["done"]}
DROPS = (Kind.SQS, Kind.KINESIS, Kind.DYNAMODB)
PASSES = (Kind.KAFKA, Kind.MQ)


def criteria(kind: Kind, *patterns: Any) -> FilterCriteria:
    return FilterCriteria([json.dumps(pattern) for pattern in patterns], DATA_KEYS[kind], kind)


def on(kind: Kind, wish: Any, **more: Any) -> dict[str, Any]:
    return {DATA_KEYS[kind]: wish, **more}


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("wish", "data", "wanted"),
    [
        (ON_DOCUMENT, DOCUMENT, True),
        (ON_DOCUMENT, b'{"state": "busy"}', False),
        (ON_DOCUMENT, b'[{"state": "busy"}, {"state": "done"}]', True),
        ({"state": [{"exists": False}]}, b"{}", True),
        ({"state": [{"exists": False}]}, DOCUMENT, False),
    ],
)
def test_json_is_compared_with_a_json_pattern(kind: Kind, wish: Any, data: bytes, wanted: bool) -> None:
    assert criteria(kind, on(kind, wish)).accepts({}, data) is wanted


@pytest.mark.parametrize("kind", [Kind.SQS, *PASSES])
@pytest.mark.parametrize(
    ("wish", "data", "wanted"),
    [
        (ON_TEXT, TEXT, True),
        (ON_TEXT, b"busy", False),
        ([{"prefix": "do"}], TEXT, True),
        (["5"], b"5", True),
        ([5], b"5", False),
        (['"done"'], b'"done"', True),
        (["true"], b"true", True),
        ([""], b"", True),
    ],
)
def test_text_is_compared_with_a_string_pattern(kind: Kind, wish: Any, data: bytes, wanted: bool) -> None:
    assert criteria(kind, on(kind, wish)).accepts({}, data) is wanted


MISFITS = [
    (ON_DOCUMENT, TEXT),
    ({"state": [{"exists": False}]}, TEXT),
    ({"state": [{"exists": False}]}, b"5"),
    (ON_TEXT, DOCUMENT),
    ([{"anything-but": "x"}], DOCUMENT),
    ([{"exists": False}], DOCUMENT),
    (ON_TEXT, BINARY),
    (ON_DOCUMENT, BINARY),
    ([{"exists": False}], BINARY),
]


@pytest.mark.parametrize("kind", DROPS)
@pytest.mark.parametrize(("wish", "data"), MISFITS)
def test_data_of_another_form_than_the_pattern_are_not_wanted(kind: Kind, wish: Any, data: bytes) -> None:
    assert not criteria(kind, on(kind, wish, id=[1])).accepts({"id": 1}, data)


@pytest.mark.parametrize("kind", PASSES)
@pytest.mark.parametrize(("wish", "data"), MISFITS)
def test_of_kafka_and_mq_the_metadata_decide_then(kind: Kind, wish: Any, data: bytes) -> None:
    wanted = criteria(kind, on(kind, wish, id=[1]))
    assert wanted.accepts({"id": 1}, data)
    assert not wanted.accepts({"id": 2}, data)
    assert criteria(kind, on(kind, wish)).accepts({}, data)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("data", [TEXT, DOCUMENT, BINARY, None])
def test_without_a_pattern_on_the_data_the_metadata_decide(kind: Kind, data: bytes | None) -> None:
    wanted = criteria(kind, {"partitionKey": [{"prefix": "a"}]})
    assert wanted.accepts({"partitionKey": "ab"}, data)
    assert not wanted.accepts({"partitionKey": "b"}, data)
    assert not wanted.accepts({}, data)


@pytest.mark.parametrize("kind", Kind)
def test_metadata_and_data_must_both_match(kind: Kind) -> None:
    wanted = criteria(kind, on(kind, ON_DOCUMENT, id=[1]))
    assert wanted.accepts({"id": 1}, DOCUMENT)
    assert not wanted.accepts({"id": 2}, DOCUMENT)
    assert not wanted.accepts({"id": 1}, b'{"state": "busy"}')


@pytest.mark.parametrize("data", [TEXT, DOCUMENT, BINARY, None])
def test_without_filters_everything_is_wanted(data: bytes | None) -> None:
    assert criteria(Kind.SQS).accepts({}, data)


def test_one_of_several_filters_is_enough() -> None:
    wanted = criteria(Kind.SQS, {"body": ["a"]}, {"body": {"x": [1]}}, {"messageId": ["7"]})
    assert wanted.accepts({"messageId": "1"}, b"a")
    assert wanted.accepts({"messageId": "1"}, b'{"x": 1}')
    assert wanted.accepts({"messageId": "7"}, BINARY)
    assert not wanted.accepts({"messageId": "1"}, b"b")


def test_branches_about_both_forms_are_each_read_for_what_they_are() -> None:
    wanted = criteria(Kind.SQS, {"$or": [{"body": ["done"]}, {"body": {"state": ["done"]}}]})
    assert wanted.accepts({}, TEXT)
    assert wanted.accepts({}, DOCUMENT)
    assert not wanted.accepts({}, b"busy")
    assert not wanted.accepts({}, b'{"state": "busy"}')


def test_a_record_without_data_has_no_data_key() -> None:
    assert criteria(Kind.KAFKA, {"value": [{"exists": False}]}).accepts({"key": "k"}, None)
    assert not criteria(Kind.KAFKA, {"value": {"a": [1]}}).accepts({"key": "k"}, None)


def test_numbers_of_the_data_keep_how_they_are_written() -> None:
    wanted = criteria(Kind.KINESIS, {"data": {"n": [300]}})
    assert wanted.accepts({}, b'{"n": 300}')
    assert not wanted.accepts({}, b'{"n": 300.0}')


def test_what_the_record_has_under_the_data_key_is_not_looked_at() -> None:
    wanted = criteria(Kind.SQS, {"body": {"a": [1]}})
    assert wanted.accepts({"body": "something else"}, b'{"a": 1}')


@given(st.binary(max_size=30), st.sampled_from(list(Kind)), st.sampled_from([ON_TEXT, ON_DOCUMENT]))
def test_no_data_break_a_filter(data: bytes, kind: Kind, wish: Any) -> None:
    assert criteria(kind, on(kind, wish)).accepts({}, data) in (True, False)


@pytest.mark.parametrize("kind", [Kind.KINESIS, Kind.DYNAMODB])
@pytest.mark.parametrize(
    "template", ['{{"{}": ["x"]}}', '{{"{}": [{{"exists": true}}]}}', '{{"$or": [{{"{}": ["x"]}}, {{"k": [1]}}]}}']
)
def test_a_string_pattern_on_the_data_of_a_stream_is_refused(kind: Kind, template: str) -> None:
    with pytest.raises(InvalidPattern, match=r"filter 0: \$\.d.*name the keys"):
        check([template.format(DATA_KEYS[kind])], kind)


@pytest.mark.parametrize("kind", Kind)
def test_good_filters_pass_the_check(kind: Kind) -> None:
    check([json.dumps(on(kind, ON_DOCUMENT))] * MAX_FILTERS, kind)
    check(['{"partitionKey": ["x"]}'], kind)


def test_the_check_names_the_filter() -> None:
    with pytest.raises(InvalidPattern, match=r"filter 1: \$\.body\[0\]"):
        check(['{"body": ["x"]}', '{"body": [{"like": "x"}]}'], Kind.SQS)


def test_there_are_at_most_five_filters() -> None:
    with pytest.raises(InvalidPattern, match="6 filters"):
        check(['{"body": ["x"]}'] * 6, Kind.SQS)
    check(['{"body": ["x"]}'] * 6, Kind.SQS, limit=10)
