"""What a function's answer becomes, and what is no answer."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.http.response import (
    MAX_BODY_BYTES,
    InvalidAnswer,
    Response,
    bodiless,
    framed,
    has_body,
    of_answer,
)
from tests.unit.http.strategies import TOKEN, values

JSON = (("content-type", "application/json"),)


def answer(**members: object) -> Response:
    return of_answer(json.dumps(members).encode())


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (b'{"hello": "world"}', b'{"hello":"world"}'),
        (b'"hello"', b"hello"),
        (b'"caf\\u00e9"', "café".encode()),
        (b'"quote \\" here"', b'quote " here'),
        (b"[1, 2.50,\n 1e400]", b"[1,2.50,1e400]"),
        (b"true", b"true"),
        (b"null", b"null"),
        (b"12345678901234567890.0", b"12345678901234567890.0"),
        (b'{"body": "no status"}', b'{"body":"no status"}'),
        (b'{"a": " \\" : {  }  "}', b'{"a":" \\" : {  }  "}'),
        (b'"half \\ud800"', "half \ufffd".encode()),
    ],
)
def test_an_answer_without_a_status_is_the_body_of_a_200(payload: bytes, body: bytes) -> None:
    assert of_answer(payload) == Response(200, JSON, body)


def test_a_status_headers_cookies_and_a_body_are_taken_as_they_are() -> None:
    made = answer(
        statusCode=201,
        headers={"Content-Type": "text/html", "X-Custom": "ä", "Set-Cookie": "own=1", "X-Number": 5, "X-Flag": True},
        cookies=["a=1; Secure", "b=2"],
        body="<p>hi</p>",
    )
    assert made == Response(
        201,
        (("content-type", "text/html"), ("x-custom", "ä"), ("set-cookie", "own=1"), ("x-number", "5"),
         ("x-flag", "true"), ("set-cookie", "a=1; Secure"), ("set-cookie", "b=2")),
        b"<p>hi</p>",
    )  # fmt: skip


def test_base64_is_decoded_with_or_without_line_breaks() -> None:
    raw = bytes(range(256))
    for text in (base64.b64encode(raw).decode(), base64.encodebytes(raw).decode()):
        assert answer(statusCode=200, body=text, isBase64Encoded=True).body == raw


@pytest.mark.parametrize("status", ["200", "404", 599])
def test_a_status_may_be_a_number_or_its_text(status: object) -> None:
    assert answer(statusCode=status).status == int(str(status))


def test_multi_value_headers_are_no_part_of_this_format() -> None:
    made = answer(statusCode=200, multiValueHeaders={"x-a": ["1"]}, body="b")
    assert made == Response(200, JSON, b"b")


@pytest.mark.parametrize(
    "name",
    ["Connection", "content-length", "Date", "Server", "Transfer-Encoding", "WWW-Authenticate", "x-amzn-RequestId"],
)
def test_headers_that_are_the_servers_own_come_under_another_name(name: str) -> None:
    assert (f"x-amzn-remapped-{name.lower()}", "1") in answer(statusCode=200, headers={name: "1"}).headers
    assert not answer(statusCode=200, headers={name: "1"}).has(name.lower())


@pytest.mark.parametrize(
    "members",
    [
        {"statusCode": "OK"}, {"statusCode": None}, {"statusCode": True}, {"statusCode": 200.5}, {"statusCode": 99},
        {"statusCode": 101}, {"statusCode": 600}, {"statusCode": [200]}, {"statusCode": "２００"}, {"statusCode": " 200"},
        {"statusCode": 200, "body": {"a": 1}}, {"statusCode": 200, "body": 5}, {"statusCode": 200, "body": ["a"]},
        {"statusCode": 200, "body": "not base64!", "isBase64Encoded": True},
        {"statusCode": 200, "body": "YQ", "isBase64Encoded": True},
        {"statusCode": 200, "body": "YQ==", "isBase64Encoded": "true"},
        {"statusCode": 200, "headers": ["a"]}, {"statusCode": 200, "headers": {"a": None}},
        {"statusCode": 200, "headers": {"a": ["b"]}}, {"statusCode": 200, "headers": {"a b": "c"}},
        {"statusCode": 200, "headers": {"": "c"}}, {"statusCode": 200, "headers": {"a": "b\r\nx-evil: 1"}},
        {"statusCode": 200, "headers": {"ä": "c"}}, {"statusCode": 200, "cookies": "a=1"},
        {"statusCode": 200, "cookies": [1]}, {"statusCode": 200, "cookies": ["a\nb"]},
    ],
)  # fmt: skip
def test_what_is_no_response_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(InvalidAnswer):
        answer(**members)


@pytest.mark.parametrize("payload", [b"", b"{", b"NaN", b"\xff", b"raw bytes", b"[" * 100_000])
def test_what_is_not_json_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        of_answer(payload)


def test_a_body_of_more_than_the_limit_is_refused() -> None:
    assert len(answer(statusCode=200, body="x" * MAX_BODY_BYTES).body) == MAX_BODY_BYTES
    with pytest.raises(InvalidAnswer, match="6291457 bytes"):
        answer(statusCode=200, body="x" * (MAX_BODY_BYTES + 1))


def test_a_body_goes_out_with_its_length_where_http_has_one() -> None:
    response = Response(200, JSON, b"abc")
    assert framed(response, "GET") == Response(200, (*JSON, ("content-length", "3")), b"abc")
    assert framed(response, "HEAD") == Response(200, (*JSON, ("content-length", "3")), b"")
    for status in (204, 304):
        assert framed(Response(status, (*JSON, ("etag", "1")), b"abc"), "GET") == Response(status, (("etag", "1"),))
        assert not has_body(status, "GET")
    assert has_body(200, "GET")
    assert not has_body(200, "HEAD")
    assert bodiless(Response(200, JSON, b"x")) == Response(200)


@given(st.binary(max_size=200), st.integers(200, 599), st.dictionaries(st.text(TOKEN, min_size=1), values, max_size=5))
def test_any_bytes_come_through(body: bytes, status: int, headers: dict[str, str]) -> None:
    encoded = base64.b64encode(body).decode()
    made = answer(statusCode=status, headers=headers, body=encoded, isBase64Encoded=True)
    assert (made.status, made.body) == (status, body)
    assert [value for _, value in made.headers[-len(headers) :]] == list(headers.values()) or not headers


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_other_json_value_comes_through_as_itself(value: object) -> None:
    if isinstance(value, dict):
        value.pop("statusCode", None)
    made = of_answer(json.dumps(value, indent=1).encode())
    if isinstance(value, str):
        assert made.body.decode() == value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    else:
        assert json.loads(made.body) == value


@given(st.binary(max_size=100))
def test_no_answer_is_worse_than_refused(payload: bytes) -> None:
    try:
        made = of_answer(payload)
    except InvalidAnswer:
        return
    assert made.status == 200


def test_a_text_of_many_escapes_costs_little_more_than_its_size() -> None:
    payload = b'["' + b"\\n" * 500_000 + b'"]'
    tracemalloc.start()
    try:
        assert of_answer(payload).body == payload
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(payload)
