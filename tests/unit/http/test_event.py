"""The event of a request, field by field, and for every request there can be."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.http.event import Endpoint, encode, event, query_parameters
from sources.http.request import Request, in_ascii, readable
from tests.unit.http.strategies import requests

NOW = datetime(2020, 3, 12, 19, 3, 58, 390_000, tzinfo=UTC)
URL_ID = "kx3vq7m2c5d8e1f4g6h9j0a2b3n4p5r7"
HOST = f"{URL_ID}.lambda-url.us-west-2.localhost"
ENDPOINT = Endpoint(URL_ID, HOST, trace_id="Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e")


def build(request: Request, endpoint: Endpoint = ENDPOINT) -> dict[str, object]:
    return event(request, endpoint, request_id="id", now=NOW)


def test_a_request_of_a_function_url_is_the_documented_event() -> None:
    request = Request(
        method="POST",
        raw_path="/my/path",
        raw_query="p1=v1&p1=v2&p2=v",
        headers=(
            ("host", f"{HOST}:9000"), ("cookie", "c1=a; c2=b"), ("accept", "*/*"), ("user-agent", "curl/8"),
            ("content-type", "text/plain"), ("connection", "keep-alive"), ("x-forwarded-for", "10.0.0.1"),
            ("content-length", "5"),
        ),
        body=b"Hello",
        source_ip="127.0.0.1",
        port=9000,
    )  # fmt: skip
    assert build(request) == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my/path",
        "rawQueryString": "p1=v1&p1=v2&p2=v",
        "cookies": ["c1=a", "c2=b"],
        "headers": {
            "host": f"{HOST}:9000",
            "accept": "*/*",
            "user-agent": "curl/8",
            "content-type": "text/plain",
            "content-length": "5",
            "x-amzn-trace-id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
            "x-forwarded-for": "10.0.0.1, 127.0.0.1",
            "x-forwarded-port": "9000",
            "x-forwarded-proto": "http",
        },
        "queryStringParameters": {"p1": "v1,v2", "p2": "v"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": URL_ID,
            "domainName": HOST,
            "domainPrefix": URL_ID,
            "http": {
                "method": "POST", "path": "/my/path", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                "userAgent": "curl/8",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1584039838390,
        },
        "body": "Hello",
        "isBase64Encoded": False,
    }  # fmt: skip


def test_what_is_empty_is_absent() -> None:
    built = build(Request("GET", source_ip="127.0.0.1"))
    assert not {"cookies", "queryStringParameters", "body", "pathParameters", "authorizer"} & built.keys()
    assert built["isBase64Encoded"] is False
    assert built["rawQueryString"] == ""


def test_a_route_of_an_api_has_its_key_stage_and_parameters() -> None:
    endpoint = Endpoint(
        "shop", "shop.execute-api.us-east-1.localhost", account="000000000000", route_key="GET /x/{id}", stage="prod",
        path_parameters={"id": "7"},
    )  # fmt: skip
    built = build(Request("GET", "/prod/x/7"), endpoint)
    assert (built["routeKey"], built["pathParameters"], built["rawPath"]) == ("GET /x/{id}", {"id": "7"}, "/prod/x/7")
    context = built["requestContext"]
    assert isinstance(context, dict)
    assert (context["routeKey"], context["stage"], context["accountId"]) == ("GET /x/{id}", "prod", "000000000000")
    assert context["domainPrefix"] == "shop"


def test_a_caller_who_signed_is_in_the_authorizer() -> None:
    built = build(Request("GET"), Endpoint("u", "u.x", account="1", authorizer={"iam": {"accessKey": "AKIA"}}))
    assert built["requestContext"]["authorizer"] == {"iam": {"accessKey": "AKIA"}}  # type: ignore[index]


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", b"x", True),
        ("TEXT/HTML; charset=UTF-8", "ä".encode(), True),
        ("application/json", b"{}", True),
        ("application/json;charset=utf-8", b"{}", True),
        ("application/xml", b"<a/>", True),
        ("application/javascript", b"1", True),
        ("text/plain", b"\xff", False),
        ("application/json", b"\x1f\x8b", False),
        ("application/x-www-form-urlencoded", b"a=b", False),
        ("multipart/form-data; boundary=x", b"--x--", False),
        ("application/octet-stream", b"x", False),
        ("application/problem+json", b"{}", False),
        ("image/svg+xml", b"<svg/>", False),
        ("textual/plain", b"x", False),
        ("", b"x", False),
    ],
)
def test_a_body_is_text_only_for_the_types_that_aws_takes_for_text(content_type: str, body: bytes, text: bool) -> None:
    built = build(Request("POST", headers=(("content-type", content_type),) if content_type else (), body=body))
    assert built["isBase64Encoded"] is not text
    assert built["body"] == (body.decode() if text else base64.b64encode(body).decode())


def test_repeated_headers_are_joined_and_those_of_the_connection_are_left_out() -> None:
    headers = (
        ("x-a", "1"), ("te", "trailers"), ("x-a", "2"), ("transfer-encoding", "chunked"), ("expect", "100-continue"),
        ("upgrade", "h2c"), ("keep-alive", "5"),
    )  # fmt: skip
    built = build(Request("GET", headers=headers, source_ip="1.2.3.4"))["headers"]
    assert isinstance(built, dict)
    assert built["x-a"] == "1,2"
    assert set(built) == {"x-a", "x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"}


def test_cookies_of_several_headers_are_one_list() -> None:
    request = Request(
        "GET",
        headers=(
            ("cookie", "a=1;b=2"),
            ("cookie", " c=3; ; d"),
        ),
    )
    assert build(request)["cookies"] == ["a=1", "b=2", "c=3", "d"]
    assert "cookie" not in build(request)["headers"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("given_hops", "told"),
    [((), "9.9.9.9"), (("1.1.1.1",), "1.1.1.1, 9.9.9.9"), (("1.1.1.1, 9.9.9.9",), "1.1.1.1, 9.9.9.9"),
     (("1.1.1.1", "2.2.2.2"), "1.1.1.1, 2.2.2.2, 9.9.9.9")],
)  # fmt: skip
def test_the_true_source_is_the_last_of_those_it_was_forwarded_for(given_hops: tuple[str, ...], told: str) -> None:
    headers = tuple(("x-forwarded-for", hop) for hop in given_hops)
    assert build(Request("GET", headers=headers, source_ip="9.9.9.9"))["headers"]["x-forwarded-for"] == told  # type: ignore[index]


def test_a_client_cannot_say_its_own_protocol_and_port() -> None:
    headers = (("x-forwarded-proto", "https"), ("x-forwarded-port", "443"))
    built = build(Request("GET", headers=headers, scheme="http", port=9000))["headers"]
    assert isinstance(built, dict)
    assert (built["x-forwarded-proto"], built["x-forwarded-port"]) == ("http", "9000")


def test_the_time_is_utc_and_its_month_english() -> None:
    moment = datetime(2024, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-1)))
    context = event(Request("GET"), ENDPOINT, request_id="", now=moment)["requestContext"]
    assert context["time"] == "01/Jan/2025:00:30:00 +0000"


@given(requests)
def test_every_request_is_an_event_whose_body_comes_back(request: Request) -> None:
    built = json.loads(encode(build(request)))
    body = built.get("body", "")
    assert (base64.b64decode(body) if built["isBase64Encoded"] else body.encode()) == request.body
    assert ("body" in built) == bool(request.body)
    assert built["rawPath"] == request.raw_path
    assert all(name == name.lower() for name in built["headers"])
    joined: dict[str, list[str]] = {}
    for name, value in request.headers:
        joined.setdefault(name, []).append(value)
    for name, value in built["headers"].items():
        if not name.startswith("x-"):
            assert value == ",".join(joined[name])


@given(st.binary(max_size=60))
def test_every_query_is_decoded_without_loss_of_what_is_utf_8(raw: bytes) -> None:
    text = in_ascii(raw)
    assert text.isascii()
    for name, value in query_parameters(text).items():
        assert "\ud800" not in name + value
    assert unquote_to_bytes(text) == unquote_to_bytes(raw.decode("latin-1").encode("latin-1"))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_headers_in_utf_8_stay_what_they_are(text: str) -> None:
    assert readable(text.encode()) == text
