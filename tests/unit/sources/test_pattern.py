"""The event pattern language, against its documentation and against a second implementation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.errors import InvalidPattern
from sources.exact_json import Number, parse_json
from sources.pattern import Form, compile_pattern
from tests.examples import EXAMPLES
from tests.unit.sources import pattern_strategies as strategies
from tests.unit.sources import reference_pattern


def matches(pattern: Any, event: Any) -> bool:
    return compile_pattern(pattern if isinstance(pattern, str) else json.dumps(pattern)).matches(
        parse_json(event if isinstance(event, str) else json.dumps(event))
    )


EC2 = {
    "version": "0",
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "time": "2017-10-02T16:24:49Z",
    "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"],
    "detail": {
        "c-count": 5,
        "d-count": 3,
        "x-limit": 301.8,
        "source-ip": "10.0.0.33",
        "instance-id": "i-000000aaaaaa00000",
        "state": "running",
        "empty": "",
        "nothing": None,
        "flag": True,
        "tags": ["red", "blue"],
    },
}


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ({"state": ["initializing", "running"]}, True),
        ({"state": ["initializing"]}, False),
        ({"state": ["Running"]}, False),
        ({"empty": [""]}, True),
        ({"state": [""]}, False),
        ({"nothing": [None]}, True),
        ({"state": [None]}, False),
        ({"missing": [None]}, False),
        ({"flag": [True]}, True),
        ({"flag": [False]}, False),
        ({"flag": ["true"]}, False),
        ({"flag": [1]}, False),
        ({"c-count": [5]}, True),
        ({"c-count": ["5"]}, False),
        ({"state": [{"prefix": "run"}]}, True),
        ({"state": [{"prefix": "Run"}]}, False),
        ({"state": [{"prefix": {"equals-ignore-case": "RUN"}}]}, True),
        ({"c-count": [{"prefix": "5"}]}, False),
        ({"state": [{"suffix": "ing"}]}, True),
        ({"state": [{"suffix": {"equals-ignore-case": "ING"}}]}, True),
        ({"state": [{"suffix": "ING"}]}, False),
        ({"state": [{"equals-ignore-case": "RUNNING"}]}, True),
        ({"state": [{"equals-ignore-case": "RUN"}]}, False),
        ({"state": [{"anything-but": "initializing"}]}, True),
        ({"state": [{"anything-but": "running"}]}, False),
        ({"state": [{"anything-but": ["stopped", "running"]}]}, False),
        ({"state": [{"anything-but": ["stopped", "overloaded"]}]}, True),
        ({"x-limit": [{"anything-but": [100, 200, 300]}]}, True),
        ({"x-limit": [{"anything-but": 301.8}]}, False),
        ({"x-limit": [{"anything-but": "301.8"}]}, True),
        ({"nothing": [{"anything-but": "x"}]}, True),
        ({"missing": [{"anything-but": "x"}]}, False),
        ({"state": [{"anything-but": {"prefix": "init"}}]}, True),
        ({"state": [{"anything-but": {"prefix": "run"}}]}, False),
        ({"state": [{"anything-but": {"prefix": ["x", "run"]}}]}, False),
        ({"state": [{"anything-but": {"suffix": "ing"}}]}, False),
        ({"state": [{"anything-but": {"suffix": ".png"}}]}, True),
        ({"state": [{"anything-but": {"equals-ignore-case": "RUNNING"}}]}, False),
        ({"state": [{"anything-but": {"equals-ignore-case": ["a", "B"]}}]}, True),
        ({"state": [{"anything-but": {"wildcard": "*nn*"}}]}, False),
        ({"c-count": [{"anything-but": {"prefix": "5"}}]}, True),
        ({"c-count": [{"numeric": [">", 0, "<=", 5]}]}, True),
        ({"c-count": [{"numeric": [">", 0, "<", 5]}]}, False),
        ({"d-count": [{"numeric": ["<", 10]}]}, True),
        ({"x-limit": [{"numeric": ["=", 3.018e2]}]}, True),
        ({"state": [{"numeric": ["=", 5]}]}, False),
        ({"source-ip": [{"cidr": "10.0.0.0/24"}]}, True),
        ({"source-ip": [{"cidr": "10.0.1.0/24"}]}, False),
        ({"source-ip": [{"cidr": "::/0"}]}, False),
        ({"state": [{"cidr": "0.0.0.0/0"}]}, False),
        ({"c-count": [{"exists": True}]}, True),
        ({"c-count": [{"exists": False}]}, False),
        ({"missing": [{"exists": False}]}, True),
        ({"missing": {"deep": [{"exists": False}]}}, True),
        ({"missing": [{"exists": True}]}, False),
        ({"nothing": [{"exists": True}]}, True),
        ({"instance-id": [{"wildcard": "i-*aaa*0"}]}, True),
        ({"instance-id": [{"wildcard": "i-*b*"}]}, False),
        ({"tags": ["blue"]}, True),
        ({"tags": [{"anything-but": "red"}]}, True),
        ({"tags": [{"anything-but": ["red", "blue"]}]}, False),
        ({"tags": [{"prefix": "gr"}]}, False),
        ({"state": ["running"], "flag": [False]}, False),
    ],
)
def test_an_operator_does_what_its_documentation_says(detail: dict[str, Any], expected: bool) -> None:
    assert matches({"detail": detail}, EC2) is expected


def test_all_keys_must_match_at_every_depth() -> None:
    pattern = {
        "time": [{"prefix": "2017-10-02"}],
        "detail": {
            "state": [{"anything-but": "initializing"}],
            "c-count": [{"numeric": [">", 0, "<=", 5]}],
            "source-ip": [{"cidr": "10.0.0.0/8"}],
        },
    }
    assert matches(pattern, EC2)
    assert not matches({**pattern, "source": ["aws.s3"]}, EC2)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"source": "aws.cloudwatch", "metricName": "ReadLatency"}, True),
        ({"source": "aws.cloudwatch", "metricType": "MetricType", "namespace": "AWS/EC2", "spaceId": 1000}, True),
        ({"source": "aws.cloudwatch", "metricType": "MetricType", "namespace": "AWS/EC2"}, False),
        ({"source": "aws.cloudwatch", "scope": "Service"}, True),
        ({"source": "aws.ec2", "scope": "Service"}, False),
        ({"source": "aws.cloudwatch"}, False),
    ],
)
def test_or_joins_patterns_and_may_be_nested(event: dict[str, Any], expected: bool) -> None:
    pattern = {
        "source": ["aws.cloudwatch"],
        "$or": [
            {"metricName": ["CPUUtilization", "ReadLatency"]},
            {
                "metricType": ["MetricType"],
                "namespace": ["AWS/EC2", "AWS/ES"],
                "$or": [{"metricId": [1234]}, {"spaceId": [1000]}],
            },
            {"scope": ["Service"]},
        ],
    }
    assert matches(pattern, event) is expected


def test_or_is_a_key_as_any_other_where_it_stands_for_no_patterns() -> None:
    assert matches({"$or": ["x"]}, {"$or": "x"})
    assert matches({"$or": {"a": [1]}}, {"$or": {"a": 1}})
    assert matches({"$or": [{"prefix": "x"}, {"suffix": "z"}]}, {"$or": "xy"})


@pytest.mark.parametrize("written", ["300", "300.0", "3.0e2", "3E2", "0.3e3"])
def test_exact_numbers_are_compared_as_they_are_written(written: str) -> None:
    for other in ("300", "300.0", "3.0e2", "3E2", "0.3e3"):
        assert matches(f'{{"n": [{written}]}}', f'{{"n": {other}}}') is (written == other)
        assert matches('{"n": [{"numeric": ["=", 300]}]}', f'{{"n": {other}}}')


@pytest.mark.parametrize(
    ("number", "expected"), [("1e9", True), ("-1e9", True), ("1000000000.1", False), ("1e400", False)]
)
def test_numbers_beyond_the_range_are_not_compared_numerically(number: str, expected: bool) -> None:
    either = '{"$or": [{"n": [{"numeric": [">=", 0]}]}, {"n": [{"numeric": ["<", 0]}]}]}'
    assert matches(either, f'{{"n": {number}}}') is expected
    assert matches(f'{{"n": [{number}]}}', f'{{"n": {number}}}')


def test_what_is_said_about_an_object_holds_of_one_element_of_an_array() -> None:
    pattern = {"items": {"size": [1], "color": ["red"]}}
    assert matches(pattern, {"items": [{"size": 2, "color": "red"}, [{"size": 1, "color": "red"}]]})
    assert not matches(pattern, {"items": [{"size": 2, "color": "red"}, {"size": 1, "color": "blue"}]})


def test_what_must_not_exist_must_not_exist_in_any_element() -> None:
    pattern = {"items": {"color": [{"exists": False}]}}
    assert matches(pattern, {"items": [{"size": 1}, {"size": 2}]})
    assert not matches(pattern, {"items": [{"size": 1}, {"color": "red"}]})


def test_only_leaves_exist() -> None:
    assert matches({"a": [{"exists": False}]}, {"a": {"b": 1}})
    assert not matches({"a": [{"exists": True}]}, {"a": {"b": 1}})
    assert matches({"a": [{"exists": False}]}, {"a": []})
    assert matches({"a": [{"exists": True}]}, {"a": [{"b": 1}, [2]]})
    assert matches({"a": {"b": [{"exists": False}]}}, {"a": 5})
    assert matches({"a": {"b": [{"exists": False}]}}, {"a": [[], 5]})


def test_the_last_of_duplicate_keys_counts_in_patterns_and_events() -> None:
    assert matches('{"a": [1], "a": [2]}', '{"a": 2}')
    assert not matches('{"a": [1], "a": [2]}', '{"a": 1}')
    assert matches('{"a": [2]}', '{"a": 1, "a": 2}')


@pytest.mark.parametrize(
    ("wildcard", "text", "expected"),
    [
        ("*", "", True),
        ("a*", "a", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*ab", "aab", True),
        ("a*ab", "ab", False),
        ("*/lib/*", "usr/lib/x", True),
        ("*/lib/*", "/lib/", True),
        ("*/lib/*", "lib/", False),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"a\\*", r"a\x", True),
        (r"\**", "*x", True),
        ("a*b*c", "a\nb\nc", True),
        ("*ab*ba*", "aba", False),
        ("*ab*ba*", "abac", False),
        ("*ab*ba*", "abba", True),
        ("ab*ba", "aba", False),
        ("abc", "abc", True),
        ("abc", "abcd", False),
    ],
)
def test_an_asterisk_stands_for_any_text_unless_it_is_escaped(wildcard: str, text: str, expected: bool) -> None:
    assert matches({"k": [{"wildcard": wildcard}]}, {"k": text}) is expected


def test_a_wildcard_of_many_asterisks_takes_no_longer_than_its_text_is() -> None:
    pattern = compile_pattern(json.dumps({"k": [{"wildcard": "*a" * 100 + "*b"}]}))
    assert not pattern.matches({"k": "a" * 200_000})


def test_numbers_of_python_are_compared_as_json_has_them() -> None:
    event = {"partition": 0, "timestamp": 154508465.987, "flag": True, "list": (1, 2)}
    assert compile_pattern('{"partition": [0], "timestamp": [{"numeric": [">", 1]}], "list": [2]}').matches(event)
    assert not compile_pattern('{"flag": [1]}').matches(event)


@pytest.mark.parametrize(
    ("pattern", "where", "remedy"),
    [
        ("{", "the pattern is no JSON", ""),
        ('{"a": [NaN]}', "the pattern is no JSON", "NaN"),
        ("[]", "$:", "object"),
        ("{}", "$:", "name a key"),
        ('{"a": {}}', "$.a:", "name a key"),
        ('{"a": 1}', "$.a:", "an object, or an array"),
        ('{"a": []}', "$.a:", "empty"),
        ('{"a": [[1]]}', "$.a[0]:", "its elements"),
        ('{"a": [1, {"prefx": "x"}]}', "$.a[1]:", "there are prefix"),
        ('{"a": [{}]}', "$.a[0]:", "one operator"),
        ('{"a": [{"prefix": "x", "suffix": "y"}]}', "$.a[0]:", "one operator"),
        ('{"a": [{"prefix": 1}]}', "$.a[0].prefix:", "string"),
        ('{"a": [{"prefix": {"suffix": "x"}}]}', "$.a[0].prefix:", "equals-ignore-case"),
        ('{"a": [{"suffix": null}]}', "$.a[0].suffix:", "string"),
        ('{"a": [{"equals-ignore-case": 1}]}', "$.a[0].equals-ignore-case:", "string"),
        ('{"a": [{"wildcard": "a**b"}]}', "$.a[0].wildcard:", "one matches"),
        ('{"a": [{"wildcard": "a\\\\b"}]}', "$.a[0].wildcard:", "backslash"),
        ('{"a": [{"wildcard": "a\\\\"}]}', "$.a[0].wildcard:", "backslash"),
        ('{"a": [{"numeric": 5}]}', "$.a[0].numeric:", "array"),
        ('{"a": [{"numeric": ["=", 1, "<"]}]}', "$.a[0].numeric:", "array"),
        ('{"a": [{"numeric": ["!=", 1]}]}', "$.a[0].numeric:", "none of < <= > >= ="),
        ('{"a": [{"numeric": [["<"], 1]}]}', "$.a[0].numeric:", "none of"),
        ('{"a": [{"numeric": ["=", "1"]}]}', "$.a[0].numeric:", "number"),
        ('{"a": [{"numeric": ["=", 1000000001]}]}', "$.a[0].numeric:", "1e9"),
        ('{"a": [{"numeric": ["<", 1, ">", 0]}]}', "$.a[0].numeric:", "range"),
        ('{"a": [{"numeric": [">", 5, "<", 5]}]}', "$.a[0].numeric:", "range"),
        ('{"a": [{"numeric": [">", 5, "=", 6]}]}', "$.a[0].numeric:", "range"),
        ('{"a": [{"cidr": "10.0.0.0"}]}', "$.a[0].cidr:", "block"),
        ('{"a": [{"cidr": "10.0.0.0/33"}]}', "$.a[0].cidr:", "block"),
        ('{"a": [{"cidr": 1}]}', "$.a[0].cidr:", "string"),
        ('{"a": [{"exists": "yes"}]}', "$.a[0].exists:", "true or false"),
        ('{"a": [{"anything-but": ["a", 1]}]}', "$.a[0].anything-but:", "one type"),
        ('{"a": [{"anything-but": true}]}', "$.a[0].anything-but:", "one type"),
        ('{"a": [{"anything-but": []}]}', "$.a[0].anything-but:", "empty"),
        ('{"a": [{"anything-but": {"numeric": ["=", 1]}}]}', "$.a[0].anything-but:", "prefix"),
        ('{"a": [{"anything-but": {"prefix": ""}}]}', "$.a[0].anything-but.prefix:", "empty"),
        ('{"$or": [{"a": [1]}]}', "$.$or:", "two"),
        ('{"$or": [{"a": [1]}, {"b": 2}]}', "$.b:", "array"),
        ('{"x": {"$or": [{"a": [1]}, {}]}}', "$.x:", "name a key"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_a_remedy(pattern: str, where: str, remedy: str) -> None:
    with pytest.raises(InvalidPattern) as refused:
        compile_pattern(pattern)
    assert str(refused.value).startswith(where)
    assert remedy in str(refused.value)


def test_a_pattern_has_at_most_4096_characters() -> None:
    rest = len('{"a": [""]}')
    compile_pattern('{"a": ["' + "x" * (4096 - rest) + '"]}')
    with pytest.raises(InvalidPattern, match="4097"):
        compile_pattern('{"a": ["' + "x" * (4097 - rest) + '"]}')


def test_nesting_without_end_is_an_error_of_the_pattern() -> None:
    with pytest.raises(InvalidPattern):
        compile_pattern('{"a":' * 100_000 + "[1]" + "}" * 100_000, limit=10**7)


def test_what_a_pattern_says_about_a_key_can_be_taken_for_granted_or_refuted() -> None:
    pattern = compile_pattern('{"x": [1], "$or": [{"data": ["a"]}, {"data": {"k": [2]}, "y": [3]}]}')
    assert pattern.forms("data") == {Form.TEXT, Form.DOCUMENT}
    assert pattern.forms("x") == {Form.TEXT}
    assert pattern.forms("k") == frozenset()
    assert pattern.assuming("data", Form.TEXT, True).matches({"x": 1})
    assert not pattern.assuming("data", Form.TEXT, False).matches({"x": 1, "data": "a"})
    granted = pattern.assuming("data", Form.DOCUMENT, True)
    assert [granted.matches({"x": 1, "y": y}) for y in (3, 4)] == [True, False]


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(st.data())
def test_it_agrees_with_a_plain_reading_of_the_language(data: st.DataObject) -> None:
    event = data.draw(strategies.events)
    pattern = data.draw(strategies.patterns_about(event) if data.draw(st.integers(0, 3)) else strategies.patterns)
    pattern_text, event_text = strategies.dump(pattern), strategies.dump(event)
    expected = reference_pattern.matches(pattern_text, event_text)
    note(f"matches: {expected}")
    assert matches(pattern_text, event_text) is expected


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(st.recursive(st.one_of(st.text(max_size=3), st.integers(), st.floats(), st.booleans(), st.none()),
                    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(
                        st.sampled_from(["a", "$or", "prefix", "anything-but", "numeric", "exists", "cidr", "wildcard"]),
                        inner, max_size=3))))  # fmt: skip
def test_any_json_is_either_a_pattern_or_refused(tree: Any) -> None:
    try:
        pattern = compile_pattern(json.dumps(tree))
    except InvalidPattern as refused:
        assert str(refused)
    else:
        assert pattern.matches({}) in (True, False)


@given(st.recursive(st.one_of(st.text(), st.booleans(), st.none()), lambda inner: st.one_of(
    st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=10))  # fmt: skip
def test_what_is_no_number_is_read_as_by_any_json_parser(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_keeps_its_text_and_its_value(value: float) -> None:
    (number,) = parse_json(f"[{value!r}]")
    assert number == Number(repr(value))
    assert number.value == float(value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"NaN", b"[1] 2", b"[" * 100_000])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)
