"""Exchanges route as RabbitMQ's do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.embedded.routing import Router, headers_match, topic_matches
from broker.errors import TopologyConflict
from broker.topology import Binding, Exchange, ExchangeKind


@pytest.mark.parametrize(
    ("pattern", "routing_key", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "", True),
        ("#.c", "a.b.c", True),
        ("#.b.#", "a.b.c", True),
        ("#.x.#", "a.b.c", False),
        ("*.#.c", "c", False),
        ("*.#.c", "a.c", True),
    ],
)
def test_topic_patterns(pattern: str, routing_key: str, matches: bool) -> None:
    assert topic_matches(pattern.split("."), routing_key.split(".")) is matches


words = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=5)


def slow_match(pattern: list[str], key: list[str]) -> bool:
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(slow_match(pattern[1:], key[n:]) for n in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and slow_match(pattern[1:], key[1:])


@given(words, st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=5))
def test_topic_patterns_match_as_their_definition(pattern: list[str], key: list[str]) -> None:
    assert topic_matches(pattern, key) is slow_match(pattern, key)


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({}, {"a": 1}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ({"x-match": "any", "a": 1, "b": 2}, {"a": 1}, True),
        ({"x-match": "any"}, {"a": 1}, False),
        ({"a": None}, {"a": "anything"}, True),
        ({"a": 1}, {"a": True}, False),
        ({"x-own": 1}, {}, True),
        ({"x-match": "all-with-x", "x-own": 1}, {}, False),
        ({"x-match": "any-with-x", "x-own": 1}, {"x-own": 1}, True),
    ],
)
def test_header_arguments(arguments: dict[str, Any], headers: dict[str, Any], matches: bool) -> None:
    assert headers_match(arguments, headers) is matches


def router(*exchanges: Exchange) -> Router:
    router = Router()
    for exchange in exchanges:
        router.add(exchange)
    return router


def test_a_queue_bound_twice_gets_one_copy() -> None:
    topics = router(Exchange("t", ExchangeKind.TOPIC))
    for pattern in ("a.*", "*.b", "a.b"):
        topics.bind(Binding("t", "q", pattern))
    assert topics.route("t", "a.b", {}) == ["q"]


def test_what_no_binding_takes_goes_to_the_alternates_in_turn() -> None:
    chain = router(Exchange("a", alternate="b"), Exchange("b", alternate="c"), Exchange("c", ExchangeKind.FANOUT))
    chain.bind(Binding("c", "q"))
    assert chain.route("a", "k", {}) == ["q"]


def test_alternates_in_a_circle_end() -> None:
    circle = router(Exchange("a", alternate="b"), Exchange("b", alternate="a"))
    assert circle.route("a", "k", {}) == []


@pytest.mark.parametrize("kind", list(ExchangeKind))
def test_a_deleted_queue_is_bound_no_more(kind: ExchangeKind) -> None:
    one = router(Exchange("x", kind))
    assert one.bind(Binding("x", "q", "k"))
    assert not one.bind(Binding("x", "q", "k"))
    one.bind(Binding("x", "other", "k"))
    one.unbind_queue("q")
    assert one.route("x", "k", {}) == ["other"]


def test_an_exchange_cannot_change() -> None:
    one = router(Exchange("x"))
    assert one.check(Exchange("x")) is False
    with pytest.raises(TopologyConflict):
        one.check(Exchange("x", ExchangeKind.FANOUT))
