"""Function URLs over the wire: what is served where, what the function is given, what clients are told. A script plays the
functions.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from fnrunner.invoke import errors
from fnrunner.model.invocation import ThrottleReason
from sources.http.prelude import CONTENT_TYPE, DELIMITER
from tests.api_server import CODE, ROLE, ApiServer, Result, Streamed
from tests.installation import eventually

FUNCTIONS = "/2015-03-31/functions"
MB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def lambda_(server: ApiServer) -> Any:
    return boto3.client(
        "lambda", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b",
        config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip


@pytest.fixture
def function(server: ApiServer, lambda_: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """A function of the test's own, gone after it."""
    name = f"f{abs(hash(request.node.nodeid)) % 10**12}"
    lambda_.create_function(
        FunctionName=name, Role=ROLE, Runtime="python3.12", Handler="app.handler", Code={"ZipFile": CODE}
    )
    front = server.front
    front.result, front.error, front.streamed = (lambda payload: Result(payload=payload)), None, (lambda _: Streamed())
    yield name
    front.error = None
    try:
        lambda_.delete_function(FunctionName=name)
    except lambda_.exceptions.ResourceNotFoundException:
        pass


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client


def at(server: ApiServer, made: dict[str, Any]) -> dict[str, Any]:
    """How httpx reaches a URL whose name no resolver of this host may know."""
    parts = urlsplit(made["FunctionUrl"])
    return {"url": server.url, "headers": {"host": parts.netloc}}


def call(
    http: httpx.Client, server: ApiServer, made: dict[str, Any], method: str = "GET", path: str = "/", **more: Any
) -> httpx.Response:
    headers = {"host": urlsplit(made["FunctionUrl"]).netloc, **more.pop("headers", {})}
    return http.request(method, server.url + path, headers=headers, **more)


def answers(server: ApiServer, **members: Any) -> list[dict[str, Any]]:
    """Let the function answer this; the events it is given."""
    events: list[dict[str, Any]] = []

    def result(payload: bytes) -> Result:
        events.append(json.loads(payload))
        return Result(json.dumps(members).encode())

    server.front.result = result
    return events


def raw(server: ApiServer, data: bytes, *, within_s: float = 30) -> bytes:
    """Send bytes, and all that comes back until the server closes."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=within_s) as connection:
        connection.sendall(data)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
    return found


def until(connection: socket.socket, end: bytes) -> bytes:
    """What comes, up to the first piece that holds ``end``."""
    found = b""
    while end not in found:
        chunk = connection.recv(65536)
        assert chunk, found
        found += chunk
    return found


# The configuration.


def test_a_url_is_created_shown_changed_listed_and_deleted(lambda_: Any, server: ApiServer, function: str) -> None:
    port = urlsplit(server.url).port
    made = lambda_.create_function_url_config(FunctionName=function, AuthType="NONE")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    del made["ResponseMetadata"]
    url_id = urlsplit(made["FunctionUrl"]).hostname.partition(".")[0]
    assert len(url_id) == 32
    assert made == {
        "FunctionUrl": f"http://{url_id}.lambda-url.us-east-1.localhost:{port}/",
        "FunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{function}",
        "AuthType": "NONE",
        "CreationTime": made["CreationTime"],
    }
    since = datetime.strptime(made["CreationTime"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - since).total_seconds()) < 60

    got = lambda_.get_function_url_config(FunctionName=made["FunctionArn"])
    del got["ResponseMetadata"]
    assert got == {**made, "LastModifiedTime": made["CreationTime"], "InvokeMode": "BUFFERED"}

    rules = {
        "AllowCredentials": True, "AllowHeaders": ["x-a"], "AllowMethods": ["GET"], "AllowOrigins": ["https://a.example"],
        "ExposeHeaders": ["x-b"], "MaxAge": 10,
    }  # fmt: skip
    changed = lambda_.update_function_url_config(FunctionName=function, AuthType="AWS_IAM", Cors=rules)
    assert changed["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert (changed["AuthType"], changed["Cors"], changed["FunctionUrl"]) == ("AWS_IAM", rules, made["FunctionUrl"])
    assert "InvokeMode" not in changed
    assert changed["CreationTime"] == made["CreationTime"] < changed["LastModifiedTime"]
    changed = lambda_.update_function_url_config(FunctionName=function, InvokeMode="RESPONSE_STREAM", Cors={})
    assert (changed["InvokeMode"], changed["AuthType"], "Cors" in changed) == ("RESPONSE_STREAM", "AWS_IAM", False)

    (listed,) = lambda_.list_function_url_configs(FunctionName=function)["FunctionUrlConfigs"]
    got = lambda_.get_function_url_config(FunctionName=function)
    del got["ResponseMetadata"]
    assert listed == got

    assert lambda_.delete_function_url_config(FunctionName=function)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert lambda_.list_function_url_configs(FunctionName=function)["FunctionUrlConfigs"] == []


def refused(call: Callable[..., Any], **parameters: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def test_refusals_of_the_configuration_have_lambdas_words(lambda_: Any, function: str) -> None:
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
    gone = (404, "ResourceNotFoundException", "The resource you requested does not exist.")
    for operation in ("get", "update", "delete"):
        change = getattr(lambda_, f"{operation}_function_url_config")
        assert refused(change, FunctionName=function) == gone
        assert refused(change, FunctionName="nobody") == gone
        assert refused(change, FunctionName=function, Qualifier="prod") == gone
    missing = (404, "ResourceNotFoundException", "Function does not exist")
    assert refused(lambda_.create_function_url_config, FunctionName="nobody", AuthType="NONE") == missing
    assert refused(lambda_.list_function_url_configs, FunctionName="nobody") == missing
    lambda_.create_function_url_config(FunctionName=function, AuthType="NONE")
    assert refused(lambda_.create_function_url_config, FunctionName=function, AuthType="NONE") == (
        409, "ResourceConflictException",
        f"Failed to create function url config for [functionArn = {arn}]. "
        "Error message:  FunctionUrlConfig exists for this Lambda function",
    )  # fmt: skip
    assert (
        refused(lambda_.create_function_url_config, FunctionName=function, AuthType="NONE", Qualifier="prod") == missing
    )
    for name, qualifier in ((function, "$LATEST"), (function, "7")):
        status, code, message = refused(
            lambda_.create_function_url_config, FunctionName=name, AuthType="NONE", Qualifier=qualifier
        )  # fmt: skip
        assert (status, code) == (400, "ValidationException")
        assert "at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern" in message
    for name in (f"{function}:$LATEST", f"{function}:7"):
        assert (
            refused(lambda_.create_function_url_config, FunctionName=name, AuthType="NONE")[1] == "ValidationException"
        )
    status, code, message = refused(lambda_.update_function_url_config, FunctionName=function, InvokeMode="FAST")
    assert (status, code) == (400, "ValidationException")
    assert message.endswith("Member must satisfy enum value set: [BUFFERED, RESPONSE_STREAM]")


@pytest.mark.parametrize(
    "rules",
    [
        {"AllowMethods": ["FETCH"]}, {"AllowMethods": ["OPTIONS"]}, {"AllowOrigins": ["example.com"]}, {"MaxAge": 86401},
        {"AllowOrigins": ["https://a.example\r\nx-evil: 1"]}, {"AllowHeaders": ["a b"]}, {"ExposeHeaders": ["x\n"]},
        {"AllowOrigins": ["https://a.example"] * 101},
    ],
)  # fmt: skip
def test_cross_origin_rules_that_cannot_be_are_refused(lambda_: Any, function: str, rules: dict[str, Any]) -> None:
    found = refused(lambda_.create_function_url_config, FunctionName=function, AuthType="NONE", Cors=rules)
    assert found[:2] == (400, "ValidationException")
    assert lambda_.list_function_url_configs(FunctionName=function)["FunctionUrlConfigs"] == []


def test_pages_of_a_listing_end(lambda_: Any, function: str) -> None:
    made = lambda_.create_function_url_config(FunctionName=function, AuthType="NONE")
    page = lambda_.list_function_url_configs(FunctionName=function, MaxItems=1)
    assert [one["FunctionUrl"] for one in page["FunctionUrlConfigs"]] == [made["FunctionUrl"]]
    assert "NextMarker" not in page
    assert refused(lambda_.list_function_url_configs, FunctionName=function, MaxItems=51)[1] == "ValidationException"


def test_a_url_goes_with_its_function(lambda_: Any, server: ApiServer, function: str, http: httpx.Client) -> None:
    made = lambda_.create_function_url_config(FunctionName=function, AuthType="NONE")
    assert call(http, server, made).status_code == 200
    lambda_.delete_function(FunctionName=function)
    answer = call(http, server, made)
    assert (answer.status_code, answer.json()) == (403, {"Message": None})
    assert answer.headers["x-amzn-errortype"] == "AccessDeniedException"


def test_all_urls_are_listed_for_people(lambda_: Any, server: ApiServer, function: str, http: httpx.Client) -> None:
    made = lambda_.create_function_url_config(FunctionName=function, AuthType="NONE", InvokeMode="RESPONSE_STREAM")
    found = http.get(f"{server.url}/fnrunner/v1/urls").json()["urls"]
    assert {
        "function": function, "url": made["FunctionUrl"], "auth_type": "NONE", "invoke_mode": "RESPONSE_STREAM"
    } in found  # fmt: skip


def test_a_host_that_is_no_address_does_not_break_the_list(
    lambda_: Any, server: ApiServer, function: str, http: httpx.Client
) -> None:
    lambda_.create_function_url_config(FunctionName=function, AuthType="NONE")
    for host in ("localhost:port", "localhost:99999", "[::1"):
        found = http.get(f"{server.url}/fnrunner/v1/urls", headers={"host": host})
        assert found.status_code == 200, found.text
        found = http.get(f"{server.url}/2021-10-31/functions/{function}/url", headers={"host": host})
        assert found.status_code == 200, found.text


def test_a_server_of_another_name_gives_urls_that_lead_to_it(tmp_path: Path) -> None:
    with ApiServer(tmp_path, trust_network=True) as server, httpx.Client(timeout=30) as http:
        headers = {"host": "faas.internal:8080"}
        document = {
            "FunctionName": "f", "Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler",
            "Code": {"ZipFile": __import__("base64").b64encode(CODE).decode()},
        }  # fmt: skip
        assert http.post(server.url + FUNCTIONS, json=document).status_code == 201
        made = http.post(f"{server.url}/2021-10-31/functions/f/url", json={"AuthType": "NONE"}, headers=headers).json()
        prefix, _, path = made["FunctionUrl"].partition("faas.internal:8080")
        assert prefix == "http://"
        events = answers(server, statusCode=200)
        assert http.get(server.url + path + "x", headers=headers).status_code == 200
        assert events[0]["rawPath"] == "/x"


# The event.


@pytest.fixture
def made(lambda_: Any, function: str) -> dict[str, Any]:
    found: dict[str, Any] = lambda_.create_function_url_config(FunctionName=function, AuthType="NONE")
    return found


def test_the_event_has_what_was_sent(server: ApiServer, made: dict[str, Any], http: httpx.Client) -> None:
    events = answers(server, statusCode=200)
    answer = call(
        http, server, made, "POST", "/my/p%C3%A4th/a%2Fb//x;y?p1=v1&p1=v2&p2=%20v&flag", content=b"Hello",
        headers={"content-type": "text/plain", "cookie": "c1=a; c2=b", "user-agent": "test/1", "X-CUSTOM": "One"},
    )  # fmt: skip
    assert answer.status_code == 200
    (event,) = events
    host = urlsplit(made["FunctionUrl"])
    assert event["rawPath"] == "/my/p%C3%A4th/a%2Fb//x;y"
    assert event["rawQueryString"] == "p1=v1&p1=v2&p2=%20v&flag"
    assert event["queryStringParameters"] == {"p1": "v1,v2", "p2": " v", "flag": ""}
    assert event["cookies"] == ["c1=a", "c2=b"]
    assert (event["body"], event["isBase64Encoded"]) == ("Hello", False)
    assert event["headers"]["host"] == host.netloc
    assert event["headers"]["x-custom"] == "One"
    assert event["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert event["headers"]["x-forwarded-port"] == str(host.port)
    context = event["requestContext"]
    assert (context["domainName"], context["domainPrefix"]) == (host.hostname, context["apiId"])
    assert context["http"] == {
        "method": "POST", "path": event["rawPath"], "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test/1",
    }  # fmt: skip
    assert context["accountId"] == "anonymous"
    assert "authorizer" not in context
    asked = server.front.asked[-1]
    assert asked["xray"] == event["headers"]["x-amzn-trace-id"]
    assert event["headers"]["x-amzn-trace-id"].startswith("Root=1-")


@pytest.mark.parametrize(
    "path", ["/a/../b", "/a/./b", "//a", "/%2e%2e/x", "/..", "/a\\b", "/%00", "/%ff", "/?", "/a?b?c#d", "/*"]
)
def test_no_path_leads_out_of_a_url(server: ApiServer, made: dict[str, Any], path: str) -> None:
    """The path reaches the function as it was sent, under both forms of the address."""
    url_id = urlsplit(made["FunctionUrl"]).hostname.partition(".")[0]
    for prefix, host in (("", urlsplit(made["FunctionUrl"]).netloc), (f"/function-url/{url_id}", "127.0.0.1")):
        events = answers(server, statusCode=200)
        found = raw(server, f"GET {prefix}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert found.startswith(b"HTTP/1.1 200 OK\r\n"), found
        assert events[0]["rawPath"] == path.partition("?")[0].partition("#")[0]


def test_a_path_of_the_api_under_a_urls_host_is_the_functions(
    server: ApiServer, made: dict[str, Any], http: httpx.Client
) -> None:
    events = answers(server, statusCode=200)
    for path in (FUNCTIONS, "/fnrunner/v1/status", "/healthz", "/metrics", "/function-url/x/"):
        assert call(http, server, made, "GET", path).content == b""
    assert [event["rawPath"] for event in events] == [
        FUNCTIONS,
        "/fnrunner/v1/status",
        "/healthz",
        "/metrics",
        "/function-url/x/",
    ]


def test_the_absolute_form_of_a_request_is_served_by_its_host_header(server: ApiServer, made: dict[str, Any]) -> None:
    events = answers(server, statusCode=200)
    host = urlsplit(made["FunctionUrl"]).netloc
    found = raw(server, f"GET http://{host}/abs?x=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert found.startswith(b"HTTP/1.1 200")
    assert (events[0]["rawPath"], events[0]["rawQueryString"]) == ("/abs", "x=1")


def test_a_path_serves_clients_that_cannot_resolve_the_name(
    server: ApiServer, made: dict[str, Any], http: httpx.Client
) -> None:
    url_id = urlsplit(made["FunctionUrl"]).hostname.partition(".")[0]
    events = answers(server, statusCode=200, headers={"content-security-policy": "default-src 'self'"}, body="x")
    for path, told in (("", "/"), ("/", "/"), ("/a/b?c=d", "/a/b")):
        answer = http.get(f"{server.url}/function-url/{url_id}{path}")
        assert answer.text == "x"
        assert events[-1]["rawPath"] == told
        # it shares its origin with the administration: its pages get one of their own
        assert answer.headers.get_list("content-security-policy")[0].startswith("default-src 'self'")
        assert "sandbox" in answer.headers["content-security-policy"]
    assert events[-1]["requestContext"]["domainName"] == f"{url_id}.lambda-url.us-east-1.localhost"
    assert http.get(f"{server.url}/function-url/unknown/").json() == {"Message": None}


def test_a_host_in_another_spelling_is_the_same(server: ApiServer, made: dict[str, Any], http: httpx.Client) -> None:
    answers(server, statusCode=200, body="x")
    url_id = urlsplit(made["FunctionUrl"]).hostname.partition(".")[0]
    for host in (f"{url_id.upper()}.LAMBDA-URL.us-east-1.LOCALHOST:1", f"{url_id}.lambda-url.eu-west-1.faas.example"):
        assert http.get(server.url, headers={"host": host}).text == "x"


@pytest.mark.parametrize("host", ["x.lambda-url.us-east-1.localhost", "x.lambda-url.evil.example", "a.lambda-url.b"])
@pytest.mark.parametrize("path", ["/", FUNCTIONS, "/fnrunner/v1/status"])
def test_an_unknown_id_is_403_and_leads_nowhere_else(
    server: ApiServer, http: httpx.Client, host: str, path: str
) -> None:
    answer = http.get(server.url + path, headers={"host": host})
    assert (answer.status_code, answer.json()) == (403, {"Message": None})


@pytest.mark.parametrize("path", [FUNCTIONS, "/fnrunner/v1/status", "/healthz"])
def test_the_api_itself_stays_closed_to_names_and_pages_of_others(
    server: ApiServer, made: dict[str, Any], http: httpx.Client, path: str
) -> None:
    url_id = urlsplit(made["FunctionUrl"]).hostname.partition(".")[0]
    own = urlsplit(made["FunctionUrl"]).netloc
    for headers in (
        {"host": f"{url_id}.evil.example"}, {"origin": f"http://{own}"}, {"origin": "null"},
        {"host": f"lambda-url.{url_id}.example"}, {"sec-fetch-site": "same-site"},
    ):  # fmt: skip
        assert http.get(server.url + path, headers=headers).status_code == 403
    # a foreign name does not reach a URL by its path either
    assert http.get(f"{server.url}/function-url/{url_id}/", headers={"host": "evil.example"}).status_code == 403


# The response.


def test_an_answer_is_a_response(server: ApiServer, made: dict[str, Any], http: httpx.Client) -> None:
    answers(
        server, statusCode=201, headers={"Content-Type": "text/html", "X-Amzn-RequestId": "forged", "x-u": "ä"},
        cookies=["a=1", "b=2"], body="aGk=", isBase64Encoded=True,
    )  # fmt: skip
    answer = call(http, server, made)
    assert (answer.status_code, answer.content) == (201, b"hi")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["x-amzn-requestid"] == Result().request_id
    assert answer.headers["x-amzn-remapped-x-amzn-requestid"] == "forged"
    assert answer.headers["x-amzn-trace-id"] == Result().xray
    assert answer.headers["content-length"] == "2"
    assert "date" in answer.headers
    assert not {"x-frame-options", "content-security-policy", "cross-origin-resource-policy"} & set(answer.headers)


def test_every_byte_comes_through(server: ApiServer, made: dict[str, Any], http: httpx.Client) -> None:
    import base64

    body = bytes(range(256)) * 1000
    events = answers(server, statusCode=200, body=base64.b64encode(body).decode(), isBase64Encoded=True)
    assert call(http, server, made, "POST", content=body).content == body
    assert base64.b64decode(events[0]["body"]) == body
    assert events[0]["isBase64Encoded"] is True


def test_head_and_bodiless_statuses_have_no_body(server: ApiServer, made: dict[str, Any]) -> None:
    host = urlsplit(made["FunctionUrl"]).netloc.encode()
    for method, status, length in ((b"HEAD", 200, True), (b"GET", 204, False), (b"GET", 304, False)):
        answers(server, statusCode=status, body="12345")
        found = raw(server, b"%s / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (method, host))
        head, _, body = found.partition(b"\r\n\r\n")
        assert body == b""
        assert (b"content-length: 5" in head) is length
        assert b"transfer-encoding" not in head


FAILURES: dict[str, tuple[Result | Exception, int, Any]] = {
    "a function error": (Result(b'{"errorMessage":"s3cret"}', "Unhandled"), 502, None),
    "no response": (Result(b'{"statusCode": "s3cret"}'), 502, None),
    "no JSON": (Result(b"s3cret"), 502, None),
    "a fault": (errors.ServiceFault("s3cret"), 502, None),
    "a surprise": (RuntimeError("s3cret"), 502, None),
    "a throttle": (errors.Throttled(ThrottleReason.RESERVED), 429, {"Message": "Rate Exceeded."}),
    "no broker": (errors.ServiceUnavailable("s3cret"), 503, {"Message": "Service Unavailable"}),
    "no worker": (errors.NoWorker("s3cret"), 503, {"Message": "Service Unavailable"}),
}


STREAMS_ANY_BYTES = ("no response", "no JSON")


@pytest.mark.parametrize(
    ("failure", "mode"),
    [(failure, "BUFFERED") for failure in FAILURES]
    + [(failure, "RESPONSE_STREAM") for failure in FAILURES if failure not in STREAMS_ANY_BYTES],
)
def test_failures_tell_nothing_of_what_is_inside(
    lambda_: Any, server: ApiServer, function: str, made: dict[str, Any], http: httpx.Client, failure: str, mode: str
) -> None:
    cause, status, document = FAILURES[failure]
    if isinstance(cause, Exception):
        server.front.error = cause
    else:
        server.front.result = lambda _: cause
    if mode == "RESPONSE_STREAM":
        lambda_.update_function_url_config(FunctionName=function, InvokeMode=mode)
        server.front.streamed = lambda _: Streamed((), error_code="Unhandled", error_details=b"s3cret")
    answer = call(http, server, made)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert "x-amzn-requestid" in answer.headers
    assert "s3cret" not in answer.text + str(answer.headers)
    if document is None:
        assert answer.text == "Internal Server Error"
    else:
        assert answer.json() == document
        assert answer.headers["retry-after"] == "1"


# Sizes.


def test_a_body_of_more_than_6_mb_is_refused_before_it_is_read(server: ApiServer, made: dict[str, Any]) -> None:
    parts, host = urlsplit(server.url), urlsplit(made["FunctionUrl"]).netloc
    asked = len(server.front.asked)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(
            f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        found = until(connection, b"}")
    assert found.startswith(b"HTTP/1.1 413 ")
    assert b"Request must be smaller than 6291456 bytes for the InvokeFunction operation" in found
    assert len(server.front.asked) == asked


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_too_much_sees_why(
    server: ApiServer, made: dict[str, Any], http: httpx.Client, chunked: bool
) -> None:
    body = b"x" * (6 * MB + 1)
    content: Any = iter([body[: 3 * MB], body[3 * MB :]]) if chunked else body
    answer = call(http, server, made, "POST", content=content, headers={"content-type": "text/plain"})
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


def test_an_event_that_grows_too_large_by_base64_is_refused(
    server: ApiServer, made: dict[str, Any], http: httpx.Client
) -> None:
    answers(server, statusCode=200)
    assert call(http, server, made, "POST", content=b"x" * (4 * MB)).status_code == 200
    answer = call(http, server, made, "POST", content=b"x" * (5 * MB))
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")


# Pages.


def test_a_preflight_is_answered_without_the_function(
    lambda_: Any, server: ApiServer, function: str, made: dict[str, Any], http: httpx.Client
) -> None:
    asking = {
        "origin": "https://a.example",
        "access-control-request-method": "PUT",
        "access-control-request-headers": "x-a",
    }
    events = answers(server, statusCode=418)
    assert call(http, server, made, "OPTIONS", headers=asking).status_code == 418
    assert events[-1]["requestContext"]["http"]["method"] == "OPTIONS"
    # signatures are not asked for either
    lambda_.update_function_url_config(
        FunctionName=function, AuthType="AWS_IAM",
        Cors={"AllowOrigins": ["https://a.example"], "AllowMethods": ["PUT"], "AllowHeaders": ["x-a"], "MaxAge": 5},
    )  # fmt: skip
    answer = call(http, server, made, "OPTIONS", headers=asking)
    assert (answer.status_code, answer.content, len(events)) == (200, b"", 1)
    assert {key: value for key, value in answer.headers.items() if key.startswith("access-control")} == {
        "access-control-allow-origin": "https://a.example", "access-control-allow-methods": "PUT",
        "access-control-allow-headers": "x-a", "access-control-max-age": "5",
    }  # fmt: skip
    # an answer that the page may not have is told to it as such
    answer = call(http, server, made, "PUT", headers={"origin": "https://a.example"})
    assert (answer.status_code, answer.json()) == (403, {"Message": "Forbidden"})
    assert answer.headers["access-control-allow-origin"] == "https://a.example"


@pytest.mark.parametrize("mode", ["BUFFERED", "RESPONSE_STREAM"])
def test_a_page_of_another_origin_reads_what_the_rules_let_it(
    lambda_: Any, server: ApiServer, function: str, made: dict[str, Any], http: httpx.Client, mode: str
) -> None:
    lambda_.update_function_url_config(
        FunctionName=function, InvokeMode=mode, Cors={"AllowOrigins": ["https://a.example"]}
    )
    events = answers(server, statusCode=200, headers={"access-control-allow-origin": "*"})
    answer = call(http, server, made, headers={"origin": "https://a.example", "sec-fetch-site": "cross-site"})
    assert answer.headers.get_list("access-control-allow-origin") == ["https://a.example"]
    answer = call(http, server, made, headers={"origin": "https://b.example"})
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (200, False)
    assert len(events) == (2 if mode == "BUFFERED" else 0)


# Streams.


@pytest.fixture
def streaming(lambda_: Any, function: str) -> dict[str, Any]:
    found: dict[str, Any] = lambda_.create_function_url_config(
        FunctionName=function, AuthType="NONE", InvokeMode="RESPONSE_STREAM"
    )
    return found


def test_chunks_come_when_the_function_has_made_them(
    server: ApiServer, streaming: dict[str, Any], http: httpx.Client
) -> None:
    gate = asyncio.Event()
    server.front.streamed = lambda _: Streamed((b"one", gate, b"two"), content_type="text/event-stream")
    host = urlsplit(streaming["FunctionUrl"]).netloc
    with http.stream("GET", server.url, headers={"host": host}) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"one"
        server.run(set_(gate))
        assert b"".join(pieces) == b"two"
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.headers["x-amzn-requestid"] == Streamed().request_id


async def set_(gate: asyncio.Event) -> None:
    gate.set()


@pytest.mark.parametrize("cut", [1, 5, 40, 1000])
def test_a_prelude_makes_the_head(server: ApiServer, streaming: dict[str, Any], http: httpx.Client, cut: int) -> None:
    whole = (
        b'{"statusCode":206,"headers":{"X-A":"1","Content-Type":"text/html"},"cookies":["a=1","b=2"]}'
        + DELIMITER
        + b"body"
    )
    pieces = [whole[start : start + cut] for start in range(0, len(whole), cut)]
    server.front.streamed = lambda _: Streamed(pieces, content_type=CONTENT_TYPE)
    answer = call(http, server, streaming)
    assert (answer.status_code, answer.content, answer.headers["x-a"]) == (206, b"body", "1")
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("pieces", "code"),
    [((b"{" + DELIMITER,), ""), ((b"{}",), ""), ((), ""), ((b"{}" + bytes(4),), "Unhandled"), ((b"x" * 17000,), "")],
)
def test_a_prelude_that_is_none_is_a_502(
    server: ApiServer, streaming: dict[str, Any], http: httpx.Client, pieces: tuple[bytes, ...], code: str
) -> None:
    server.front.streamed = lambda _: Streamed(pieces, content_type=CONTENT_TYPE, error_code=code)
    answer = call(http, server, streaming)
    assert (answer.status_code, answer.text) == (502, "Internal Server Error")


def test_an_answer_that_was_not_streamed_is_sent_as_it_is(
    server: ApiServer, streaming: dict[str, Any], http: httpx.Client
) -> None:
    server.front.streamed = lambda _: Streamed((b'{"statusCode": 404}',), content_type="application/json")
    answer = call(http, server, streaming)
    assert (answer.status_code, answer.content) == (200, b'{"statusCode": 404}')
    server.front.streamed = lambda _: Streamed((), content_type="")
    answer = call(http, server, streaming)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (
        200,
        b"",
        "application/octet-stream",
    )


def test_an_error_in_mid_stream_cuts_the_body(server: ApiServer, streaming: dict[str, Any], http: httpx.Client) -> None:
    server.front.streamed = lambda _: Streamed((b"one",), error_code="Sandbox.Timedout")
    host = urlsplit(streaming["FunctionUrl"]).netloc
    found = raw(server, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert found.endswith(b"\r\n\r\n3\r\none\r\n")
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        call(http, server, streaming)


def test_a_client_that_leaves_ends_the_work(server: ApiServer, streaming: dict[str, Any]) -> None:
    never = asyncio.Event()
    stream = Streamed((b"one", never, b"two"))
    server.front.streamed = lambda _: stream
    parts, host = urlsplit(server.url), urlsplit(streaming["FunctionUrl"]).netloc
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        until(connection, b"one")
        assert stream not in server.front.left
    eventually(lambda: stream in server.front.left)
    assert stream.taken == 1


def test_a_client_that_does_not_read_holds_the_function_back(server: ApiServer, streaming: dict[str, Any]) -> None:
    stream = Streamed([b"x" * 65536] * 400)
    server.front.streamed = lambda _: stream
    parts, host = urlsplit(server.url), urlsplit(streaming["FunctionUrl"]).netloc
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        seen = [-1]

        def stands_still() -> bool:
            seen.append(stream.taken)
            return stream.taken > 0 and seen[-1] == seen[-2]

        eventually(stands_still, every_s=0.5)
        assert stream.taken < 300
        size = 0
        while chunk := connection.recv(MB):
            size += len(chunk)
    assert size > 400 * 65536
    assert stream.taken == 400


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_stream_has_no_body_where_http_has_none(
    server: ApiServer, streaming: dict[str, Any], method: str, status: int
) -> None:
    prelude = json.dumps({"statusCode": status}).encode() + DELIMITER
    server.front.streamed = lambda _: Streamed((prelude + b"one", b"two"), content_type=CONTENT_TYPE)
    host = urlsplit(streaming["FunctionUrl"]).netloc
    found = raw(server, f"{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert found.startswith(f"HTTP/1.1 {status} ".encode())
    assert found.endswith(b"\r\n\r\n")
    assert b"chunked" not in found


# Old and odd clients.


def test_a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection(
    server: ApiServer, streaming: dict[str, Any]
) -> None:
    server.front.streamed = lambda _: Streamed((b"one", b"two"))
    host = urlsplit(streaming["FunctionUrl"]).netloc
    found = raw(server, f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = found.partition(b"\r\n\r\n")
    assert body == b"onetwo"
    assert b"chunked" not in head
    assert b"connection: close" in head
    server.front.streamed = lambda _: Streamed((b"one",), error_code="Unhandled")
    with pytest.raises(ConnectionResetError):
        raw(server, f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())


def test_a_buffered_answer_to_http_1_0_has_its_length(server: ApiServer, made: dict[str, Any]) -> None:
    events = answers(server, statusCode=200, body="hello")
    host = urlsplit(made["FunctionUrl"]).netloc
    found = raw(server, f"POST /x HTTP/1.0\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nhi".encode())
    assert b"content-length: 5\r\n" in found
    assert found.endswith(b"\r\n\r\nhello")
    assert events[0]["requestContext"]["http"]["protocol"] == "HTTP/1.0"


def test_two_hosts_are_one_too_many(server: ApiServer, made: dict[str, Any]) -> None:
    host = urlsplit(made["FunctionUrl"]).netloc
    found = raw(server, f"GET / HTTP/1.1\r\nHost: {host}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert found.startswith(b"HTTP/1.1 400 ")


def test_headers_that_are_not_utf_8_reach_the_function_as_text(server: ApiServer, made: dict[str, Any]) -> None:
    events = answers(server, statusCode=200)
    host = urlsplit(made["FunctionUrl"]).netloc.encode()
    request = (
        b"GET /?q=%%ff HTTP/1.1\r\nHost: %s\r\nX-A: caf\xe9\r\nX-B: caf\xc3\xa9\r\nConnection: close\r\n\r\n" % host
    )
    assert raw(server, request).startswith(b"HTTP/1.1 200")
    assert (events[0]["headers"]["x-a"], events[0]["headers"]["x-b"]) == ("café", "café")
    assert (events[0]["rawQueryString"], events[0]["queryStringParameters"]) == ("q=%ff", {"q": "\ufffd"})
    for target in (b"/?q=\xff", b"/\xc3\xa4", b"/a b", b"nonsense", b"/\x01"):
        found = raw(server, b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, host))
        assert found.startswith(b"HTTP/1.1 400 "), found


@pytest.mark.parametrize("method", ["PROPFIND", "TRACE", "PURGE", "M-SEARCH"])
def test_unusual_methods_reach_the_function(server: ApiServer, made: dict[str, Any], method: str) -> None:
    events = answers(server, statusCode=200)
    host = urlsplit(made["FunctionUrl"]).netloc
    raw(server, f"{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert events[0]["requestContext"]["http"]["method"] == method


def test_a_request_about_the_whole_server_reaches_the_function_as_it_is(
    server: ApiServer, made: dict[str, Any]
) -> None:
    events = answers(server, statusCode=200)
    host = urlsplit(made["FunctionUrl"]).netloc
    raw(server, f"OPTIONS * HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert events[0]["rawPath"] == "*"


def test_an_upgrade_is_not_made(server: ApiServer, made: dict[str, Any]) -> None:
    events = answers(server, statusCode=200, body="plain")
    host = urlsplit(made["FunctionUrl"]).netloc
    found = raw(
        server,
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n".encode(),
    )
    assert found.startswith(b"HTTP/1.1 200 ")
    assert "upgrade" not in events[0]["headers"]
