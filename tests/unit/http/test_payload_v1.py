"""Events and answers of payload format 1.0, field by field, and what is no answer."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given

from sources.http.event import Endpoint, encode
from sources.http.event_v1 import event
from sources.http.request import Request
from sources.http.response import MAX_BODY_BYTES, InvalidAnswer, Response
from sources.http.response_v1 import of_answer
from tests.unit.http.strategies import requests

NOW = datetime(2020, 3, 12, 19, 3, 58, 390_000, tzinfo=UTC)
HOST = "shop.execute-api.us-east-1.localhost"
ENDPOINT = Endpoint(
    "shop", HOST, account="000000000000", route_key="ANY /items/{id}", stage="Prod", path_parameters={"id": "7"},
    trace_id="Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
)  # fmt: skip
REQUEST = Request(
    method="POST",
    raw_path="/Prod/items/7",
    raw_query="p1=v1&p1=v2&p2=a%20b",
    headers=(
        ("host", f"{HOST}:9000"), ("cookie", "c1=a; c2=b"), ("accept", "a/b"), ("accept", "c/d"), ("user-agent", "curl/8"),
        ("content-type", "text/plain"), ("connection", "keep-alive"), ("x-forwarded-for", "10.0.0.1"),
        ("content-length", "5"),
    ),
    body=b"Hello",
    source_ip="127.0.0.1",
    port=9000,
)  # fmt: skip


def build(request: Request = REQUEST, endpoint: Endpoint = ENDPOINT, *, rest: bool = True) -> dict[str, object]:
    return event(request, endpoint, request_id="id", now=NOW, rest=rest)


def test_a_request_of_a_rest_api_is_the_documented_event() -> None:
    assert build() == {
        "resource": "/items/{id}",
        "path": "/items/7",
        "httpMethod": "POST",
        "headers": {
            "Host": f"{HOST}:9000",
            "Cookie": "c1=a; c2=b",
            "Accept": "c/d",
            "User-Agent": "curl/8",
            "Content-Type": "text/plain",
            "X-Amzn-Trace-Id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
            "X-Forwarded-For": "10.0.0.1, 127.0.0.1",
            "X-Forwarded-Port": "9000",
            "X-Forwarded-Proto": "http",
        },
        "multiValueHeaders": {
            "Host": [f"{HOST}:9000"],
            "Cookie": ["c1=a; c2=b"],
            "Accept": ["a/b", "c/d"],
            "User-Agent": ["curl/8"],
            "Content-Type": ["text/plain"],
            "X-Amzn-Trace-Id": ["Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e"],
            "X-Forwarded-For": ["10.0.0.1, 127.0.0.1"],
            "X-Forwarded-Port": ["9000"],
            "X-Forwarded-Proto": ["http"],
        },
        "queryStringParameters": {"p1": "v2", "p2": "a b"},
        "multiValueQueryStringParameters": {"p1": ["v1", "v2"], "p2": ["a b"]},
        "pathParameters": {"id": "7"},
        "stageVariables": None,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "shop",
            "domainName": HOST,
            "domainPrefix": "shop",
            "extendedRequestId": "id",
            "httpMethod": "POST",
            "identity": {
                "accessKey": None, "accountId": None, "caller": None, "cognitoAuthenticationProvider": None,
                "cognitoAuthenticationType": None, "cognitoIdentityId": None, "cognitoIdentityPoolId": None,
                "principalOrgId": None, "sourceIp": "127.0.0.1", "user": None, "userAgent": "curl/8", "userArn": None,
            },
            "path": "/Prod/items/7",
            "protocol": "HTTP/1.1",
            "requestId": "id",
            "requestTime": "12/Mar/2020:19:03:58 +0000",
            "requestTimeEpoch": 1584039838390,
            "resourceId": "ANY /items/{id}",
            "resourcePath": "/items/{id}",
            "stage": "Prod",
        },
        "body": "Hello",
        "isBase64Encoded": False,
    }  # fmt: skip


def test_what_is_absent_is_null() -> None:
    endpoint = Endpoint("shop", HOST, route_key="GET /", stage="Prod")
    built = build(Request("GET", "/Prod", source_ip="127.0.0.1"), endpoint)
    absent = ("queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "stageVariables", "body")
    assert {key: built[key] for key in absent} == dict.fromkeys(absent)
    assert (built["path"], built["resource"], built["isBase64Encoded"]) == ("/", "/", False)


def test_an_http_api_says_the_version_has_lower_case_headers_and_the_stage_in_the_path() -> None:
    built = build(rest=False)
    assert (built["version"], built["path"], built["resource"]) == ("1.0", "/Prod/items/7", "/items/{id}")
    headers = built["headers"]
    assert isinstance(headers, dict)
    assert (headers["user-agent"], headers["x-forwarded-proto"]) == ("curl/8", "http")
    assert "version" not in build()
    default = build(Request("GET", "/x"), Endpoint("shop", HOST), rest=False)
    assert (default["resource"], default["path"]) == ("$default", "/x")


def test_a_body_that_is_no_text_is_in_base64() -> None:
    built = build(Request("POST", "/Prod/items/7", body=b"\xff\x00"))
    assert (built["body"], built["isBase64Encoded"]) == (base64.b64encode(b"\xff\x00").decode(), True)


@given(requests)
def test_every_request_has_an_event_that_is_json(request: Request) -> None:
    built = json.loads(encode(build(request)))
    several, single = built["multiValueHeaders"], built["headers"]
    assert {name: values[-1] for name, values in several.items()} == single


def answer(**members: object) -> Response:
    return of_answer(json.dumps(members).encode())


def test_both_kinds_of_headers_are_one_list_without_repetitions() -> None:
    found = answer(
        statusCode="201", headers={"A": "1", "Content-Type": "text/x", "N": True}, multiValueHeaders={"a": ["1", "2"]}
    )
    assert found == Response(201, (("content-type", "text/x"), ("n", "true"), ("a", "1"), ("a", "2")))


def test_nothing_has_to_be_said() -> None:
    assert answer() == Response(200, (("content-type", "application/json"),))
    assert answer(statusCode=204, body=None, headers=None, multiValueHeaders=None).status == 204


def test_a_body_in_base64_is_decoded() -> None:
    assert answer(body="AP8=", isBase64Encoded=True).body == b"\x00\xff"


@pytest.mark.parametrize(
    "payload",
    [
        b'"hello"', b"null", b"[]", b"{", b'{"message": "hi"}', b'{"statusCode": 200, "cookies": []}',
        b'{"statusCode": 20}', b'{"statusCode": "x"}', b'{"body": {"a": 1}}', b'{"body": 1}', b'{"headers": []}',
        b'{"headers": {"a": []}}', b'{"headers": {"a b": "c"}}', b'{"multiValueHeaders": {"a": "1"}}',
        b'{"multiValueHeaders": {"a": [["1"]]}}', b'{"multiValueHeaders": []}', b'{"multiValueHeaders": {"a": ["x\\r\\ny"]}}',
        b'{"isBase64Encoded": "true"}', b'{"isBase64Encoded": true, "body": "*"}',
        json.dumps({"body": "x" * (MAX_BODY_BYTES + 1)}).encode(),
    ],
    ids=lambda payload: payload[:40].decode(),
)  # fmt: skip
def test_a_malformed_answer_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        of_answer(payload)
