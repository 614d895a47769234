"""What a subscription to telemetry may ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnrunner.runtimes.runtime_api.subscription import Invalid, parse

GOOD = {"types": ["platform"], "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080"}}


def test_a_subscription_without_more_has_lambdas_defaults() -> None:
    wanted = parse(GOOD)
    assert (wanted.max_items, wanted.max_bytes, wanted.timeout_s) == (1000, 262_144, 10.0)
    assert (wanted.protocol, wanted.address, wanted.path, wanted.method) == ("HTTP", ("127.0.0.1", 8080), "/", "POST")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"types": []}, "types should not be empty"),
        ({"types": ["x"]}, "types has 'x'"),
        ({"schemaVersion": "1999"}, "schemaVersion '1999' is not supported"),
        ({"buffering": 1}, "buffering should be an object"),
        ({"buffering": {"maxItems": 1}}, "buffering.maxItems should be from 25 to 30000"),
        ({"buffering": {"maxBytes": True}}, "buffering.maxBytes should be from"),
        ({"buffering": {"timeoutMs": "x"}}, "buffering.timeoutMs should be from"),
        ({"destination": None}, "destination is not provided"),
        ({"destination": {"protocol": "UDP"}}, "destination.protocol should be HTTP or TCP"),
        ({"destination": {"protocol": "TCP", "port": 70000}}, "port should be from 1 to 65535"),
        ({"destination": {"protocol": "TCP"}}, "destination port is not provided"),
        ({"destination": {"protocol": "HTTP", "URI": "https://sandbox:1"}}, "destination.URI should be http://"),
        ({"destination": {"protocol": "HTTP", "URI": "http://example.com:1"}}, "use sandbox.localdomain"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox"}}, "URI port is not provided"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox:x"}}, "a port from 1 to 65535"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox:1/a b"}}, "printable characters"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox:1", "method": "GET"}}, "POST or PUT"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox:1", "encoding": "XML"}}, "should be JSON"),
    ],
)
def test_every_mistake_is_named(more: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse(GOOD | more)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(Invalid, match=r"^types should not be empty; URI port is not provided$"):
        parse({"types": [], "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain"}})


def test_the_logs_api_takes_its_own_schema_only() -> None:
    assert parse(GOOD | {"schemaVersion": "2021-03-18"}, logs=True).takes("platform.runtimeDone")
    assert not parse(GOOD, logs=True).takes("platform.initStart")
    with pytest.raises(Invalid, match="2021-03-18"):
        parse(GOOD | {"schemaVersion": "2021-03-18"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["HTTP", "TCP", "platform"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["types", "destination", "protocol", "URI", "port", "buffering", "maxItems", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(json_values, st.booleans())
def test_whatever_json_comes_it_is_taken_or_refused(body: Any, logs: bool) -> None:
    try:
        parse(json.loads(json.dumps(body)), logs=logs)
    except Invalid as error:
        assert str(error)
