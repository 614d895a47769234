"""SNS filter policies: which messages of a topic a subscription gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sources.errors import InvalidPattern
from sources.filter_policy import FilterPolicy, Scope

ATTRIBUTES = {
    "store": ("String", "example_corp"),
    "event": ("String", "order_placed"),
    "price": ("Number", "301.5"),
    "interests": ("String.Array", '["soccer", "rugby", 7, true, null]'),
    "encrypted": ("String", "false"),
    "ip": ("String", "10.0.0.9"),
    "picture": ("Binary", "aGk="),
    "custom": ("String.uuid", "42"),
    "broken": ("String.Array", "not an array"),
}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"store": ["example_corp"]}, True),
        ({"store": ["other"]}, False),
        ({"store": ["example_corp"], "event": [{"anything-but": "order_cancelled"}]}, True),
        ({"event": [{"anything-but": {"prefix": "order_"}}]}, False),
        ({"event": [{"anything-but": {"suffix": "_x"}}]}, True),
        ({"store": [{"prefix": "example"}]}, True),
        ({"store": [{"suffix": "_corp"}]}, True),
        ({"store": [{"equals-ignore-case": "EXAMPLE_corp"}]}, True),
        ({"price": [{"numeric": ["=", 3.015e2]}]}, True),
        ({"price": [{"numeric": [">=", 100, "<", 200]}]}, False),
        ({"price": [301.5]}, True),
        ({"price": ["301.5"]}, False),
        ({"store": [{"numeric": ["=", 5]}]}, False),
        ({"interests": ["rugby", "football"]}, True),
        ({"interests": [7]}, True),
        ({"interests": [True]}, True),
        ({"interests": [None]}, True),
        ({"interests": [{"prefix": "soc"}]}, True),
        ({"interests": ["football"]}, False),
        ({"encrypted": [False]}, False),
        ({"encrypted": ["false"]}, True),
        ({"ip": [{"cidr": "10.0.0.0/24"}]}, True),
        ({"store": [{"exists": True}]}, True),
        ({"store": [{"exists": False}]}, False),
        ({"missing": [{"exists": False}]}, True),
        ({"picture": [{"exists": True}]}, False),
        ({"picture": ["aGk="]}, False),
        ({"custom": ["42"]}, True),
        ({"broken": ["not an array"]}, True),
        ({"$or": [{"store": ["other"]}, {"price": [{"numeric": ["<", 400]}]}]}, True),
    ],
)
def test_a_policy_is_about_the_attributes(policy: Any, expected: bool) -> None:
    assert FilterPolicy(json.dumps(policy)).accepts(ATTRIBUTES, b"whatever") is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"store": "a", "order": {"items": [{"n": 2}, {"n": 5}]}}', True),
        (b'{"store": "a", "order": {"items": [{"n": 2}]}}', False),
        (b'{"store": "b", "order": {"items": [{"n": 5}]}}', False),
        (b"not json", False),
        (b"\xff", False),
        (b"[1]", False),
        (b'"text"', False),
    ],
)
def test_or_about_the_body(body: bytes, expected: bool) -> None:
    policy = {"store": ["a"], "order": {"items": {"n": [{"numeric": [">", 3]}]}}}
    assert FilterPolicy(json.dumps(policy), Scope.BODY).accepts(ATTRIBUTES, body) is expected


def test_what_is_no_json_object_is_not_wanted_even_where_a_key_must_not_exist() -> None:
    policy = FilterPolicy('{"x": [{"exists": false}]}', Scope.BODY)
    assert policy.accepts({}, b"{}")
    assert not policy.accepts({}, b"text")


@pytest.mark.parametrize(
    ("policy", "scope", "remedy"),
    [
        ({"a": [{"wildcard": "x*"}]}, Scope.ATTRIBUTES, "wildcard cannot be used here"),
        ({"a": [{"anything-but": {"wildcard": "x*"}}]}, Scope.BODY, "wildcard cannot be used here"),
        ({"a": {"b": ["x"]}}, Scope.ATTRIBUTES, r"\$\.a\.b: .*MessageBody"),
        ({key: ["x"] for key in "abcdef"}, Scope.ATTRIBUTES, "6 keys"),
        ({"a": list("0123456789abcdef"), "b": list("0123456789")}, Scope.ATTRIBUTES, "160 combinations"),
        ({"a": {"b": {"c": [1, 2, 3, 4]}}, "d": {"e": [1, 2, 3]}, "f": [1, 2, 3]}, Scope.BODY, "216 combinations"),
        ({"a": "x"}, Scope.ATTRIBUTES, r"\$\.a"),
    ],
)
def test_a_policy_that_sns_would_refuse_is_refused(policy: Any, scope: Scope, remedy: str) -> None:
    with pytest.raises(InvalidPattern, match=remedy):
        FilterPolicy(json.dumps(policy), scope)
