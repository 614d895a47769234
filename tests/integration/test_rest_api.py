"""REST APIs: stages, routes, what functions are given and clients told. A script plays the functions."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from fnrunner.api import http_route
from fnrunner.invoke import errors
from fnrunner.model.invocation import ThrottleReason
from tests.api_server import ApiServer, Result
from tests.integration.test_http_api import APIS, call, http, put, server

__all__ = ["http", "server"]

ROUTES = [
    {"method": "GET", "path": "/hello", "function": "f"},
    {"method": "ANY", "path": "/items/{id}", "function": "f"},
    {"method": "ANY", "path": "/files/{proxy+}", "function": "f"},
]


@pytest.fixture(autouse=True)
def shop(http: httpx.Client, server: ApiServer) -> dict[str, Any]:
    """The API; its function answers with the event as the body."""
    server.front.result = lambda payload: Result(json.dumps({"statusCode": 200, "body": payload.decode()}).encode())
    return put(http, type="rest", stage="Prod", routes=ROUTES)


def test_it_is_told_as_it_was_put(http: httpx.Client, shop: dict[str, Any]) -> None:
    assert (shop["type"], shop["stage"]) == ("rest", "Prod")
    assert shop["endpoint"].endswith("/Prod/")
    assert [route["route_key"] for route in shop["routes"]] == ["ANY /files/{proxy+}", "ANY /items/{id}", "GET /hello"]
    assert http.get(f"{APIS}/shop").json() == shop


@pytest.mark.parametrize(
    ("method", "path", "resource", "parameters"),
    [
        ("GET", "/Prod/hello", "/hello", None),
        ("GET", "/Prod/hello/", "/hello", None),
        ("PATCH", "/Prod/items/a%20b", "/items/{id}", {"id": "a b"}),
        ("DELETE", "/Prod/files/a/b.txt", "/files/{proxy+}", {"proxy": "a/b.txt"}),
    ],
)
def test_the_event_has_format_1_0(
    http: httpx.Client, method: str, path: str, resource: str, parameters: dict[str, str] | None
) -> None:
    event = call(http, method, f"{path}?a=1&a=2").json()
    assert (event["resource"], event["pathParameters"], event["httpMethod"]) == (resource, parameters, method)
    assert (event["path"], event["requestContext"]["path"]) == (path.removeprefix("/Prod"), path)
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"]}
    assert event["requestContext"]["stage"] == "Prod"
    assert event["headers"]["Host"] == "shop.execute-api.us-east-1.localhost:9000"
    assert "version" not in event


def test_a_path_leads_to_it_too(http: httpx.Client) -> None:
    assert http.get("/http-api/shop/Prod/hello").json()["path"] == "/hello"


@pytest.mark.parametrize("path", ["/Prod", "/Prod/", "/Prod/nothing", "/Prod/files", "/Prod/items"])
def test_what_no_route_takes_asks_for_a_token(http: httpx.Client, server: ApiServer, path: str) -> None:
    answer = call(http, "GET", path)
    assert (answer.status_code, answer.json()) == (403, {"message": "Missing Authentication Token"})
    assert answer.headers["x-amzn-errortype"] == "MissingAuthenticationTokenException"
    assert call(http, "POST", "/Prod/hello").status_code == 403


@pytest.mark.parametrize("path", ["/hello", "/prod/hello", "/", "/Stage/hello"])
def test_another_stage_is_forbidden(http: httpx.Client, path: str) -> None:
    answer = call(http, "GET", path)
    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


@pytest.mark.parametrize(
    ("payload", "error"), [(b'"text"', ""), (b'{"message": "hi"}', ""), (b'{"statusCode": 200}', "Unhandled")]
)
def test_a_malformed_answer_and_an_error_are_a_bad_gateway(
    http: httpx.Client, server: ApiServer, payload: bytes, error: str
) -> None:
    server.front.result = lambda _: Result(payload, function_error=error)
    answer = call(http, "GET", "/Prod/hello")
    assert (answer.status_code, answer.json()) == (502, {"message": "Internal server error"})


def test_an_answer_has_every_value_of_a_header(http: httpx.Client, server: ApiServer) -> None:
    said = {
        "statusCode": 201,
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": "AP8=",
        "isBase64Encoded": True,
    }
    server.front.result = lambda _: Result(json.dumps(said).encode())
    answer = call(http, "GET", "/Prod/hello")
    assert (answer.status_code, answer.content) == (201, b"\x00\xff")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_too_much_at_once_is_told(http: httpx.Client, server: ApiServer) -> None:
    server.front.error = errors.Throttled(ThrottleReason.CAPACITY)
    answer = call(http, "GET", "/Prod/hello")
    assert (answer.status_code, answer.json()) == (429, {"message": "Too Many Requests"})


def test_a_function_that_takes_longer_than_the_route_allows_is_a_timeout(http: httpx.Client, server: ApiServer) -> None:
    put(http, type="rest", stage="Prod", routes=[{"path": "/slow", "function": "f", "timeout_ms": 50}])
    server.front.gate = asyncio.Event()
    answer = call(http, "GET", "/Prod/slow")
    assert (answer.status_code, answer.json()) == (504, {"message": "Endpoint request timed out"})


def test_a_route_that_does_not_say_waits_as_long_as_api_gateway(
    http: httpx.Client, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timedelta(seconds=29) == http_route.REST_TIMEOUT
    monkeypatch.setattr(http_route, "REST_TIMEOUT", timedelta(milliseconds=50))
    server.front.gate = asyncio.Event()
    assert call(http, "GET", "/Prod/hello").status_code == 504


def test_preflights_follow_the_rules_and_other_answers_the_function(http: httpx.Client, server: ApiServer) -> None:
    rules = {"allow_origins": ["https://a.example"], "allow_methods": ["GET"]}
    put(http, type="rest", stage="Prod", routes=ROUTES, cors=rules)
    asked = {"origin": "https://a.example", "access-control-request-method": "GET"}
    preflight = call(http, "OPTIONS", "/Prod/hello", headers=asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://a.example")
    said = {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "https://b.example"}}
    server.front.result = lambda _: Result(json.dumps(said).encode())
    answer = call(http, "GET", "/Prod/hello", headers={"origin": "https://a.example"})
    assert answer.headers["access-control-allow-origin"] == "https://b.example"


def test_an_http_api_may_have_format_1_0(http: httpx.Client) -> None:
    route = {"method": "GET", "path": "/old", "function": "f", "payload": "1.0"}
    made = put(http, "mixed", routes=[route, {"method": "GET", "path": "/new", "function": "f"}])
    assert [one.get("payload") for one in made["routes"]] == [None, "1.0"]
    assert call(http, "GET", "/old", "mixed").json()["version"] == "1.0"
    assert call(http, "GET", "/new", "mixed").json()["version"] == "2.0"
