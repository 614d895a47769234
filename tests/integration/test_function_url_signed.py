"""Function URLs with AWS_IAM: who signs gets in, over the wire, with the keys of the credentials file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fnrunner.auth import credentials
from fnrunner.auth.credentials import Credential
from tests.api_server import CODE, ROLE, ApiServer, Result


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        running.front.result = lambda payload: Result(json.dumps({"event": json.loads(payload)}).encode())
        yield running


@pytest.fixture(scope="module")
def url(server: ApiServer) -> str:
    client = boto3.client(
        "lambda", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_function(
        FunctionName="f", Role=ROLE, Runtime="python3.12", Handler="app.handler", Code={"ZipFile": CODE}
    )
    found: str = client.create_function_url_config(FunctionName="f", AuthType="AWS_IAM")["FunctionUrl"]
    return found


@pytest.fixture
def alice(server: ApiServer) -> Iterator[Credential]:
    path = server.services.settings.credentials
    path.unlink(missing_ok=True)
    yield credentials.create(path, "alice")
    path.unlink(missing_ok=True)


def ask(server: ApiServer, request: AWSRequest, **changes: Any) -> httpx.Response:
    """Send what was signed, by a name that needs no resolver."""
    parts = urlsplit(str(request.url))
    target = server.url + parts.path + (f"?{parts.query}" if parts.query else "")
    headers = {**dict(request.headers.items()), **changes.pop("headers", {})}
    return httpx.request(
        changes.pop("method", request.method), changes.pop("target", target), headers=headers,
        content=changes.pop("content", request.data or b""), timeout=30,
    )  # fmt: skip


def sign(
    key: Credential, url: str, method: str = "POST", body: bytes = b'{"a": 1}', *, presigned: int = 0
) -> AWSRequest:
    headers = {"Host": urlsplit(url).netloc, **({"Content-Type": "application/json"} if body else {})}
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    given = Credentials(key.access_key, key.secret, key.token or None)
    if presigned:
        SigV4QueryAuth(given, "lambda", "us-east-1", expires=presigned).add_auth(request)
    else:
        SigV4Auth(given, "lambda", "us-east-1").add_auth(request)
    return request


def test_a_signed_request_gets_in_and_the_function_is_told_who_called(
    server: ApiServer, url: str, alice: Credential
) -> None:
    answer = ask(server, sign(alice, url + "a%20b?x=1&y=%2F"))
    assert answer.status_code == 200, answer.text
    event = answer.json()["event"]
    assert (event["rawPath"], event["rawQueryString"], event["body"]) == ("/a%20b", "x=1&y=%2F", '{"a": 1}')
    context = event["requestContext"]
    iam = context["authorizer"]["iam"]
    assert context["accountId"] == "000000000000"
    assert iam == {
        "accessKey": alice.access_key, "accountId": "000000000000", "callerId": iam["userId"], "cognitoIdentity": None,
        "principalOrgId": None, "userArn": "arn:aws:iam::000000000000:user/alice", "userId": iam["userId"],
    }  # fmt: skip
    assert iam["userId"].startswith("AIDA")


def test_a_presigned_url_gets_in_by_either_address(server: ApiServer, url: str, alice: Credential) -> None:
    answer = ask(server, sign(alice, url + "x?a=1", "GET", b"", presigned=60))
    assert answer.status_code == 200, answer.text
    assert answer.json()["event"]["queryStringParameters"]["a"] == "1"
    url_id = urlsplit(url).netloc.partition(".")[0]
    answer = ask(server, sign(alice, f"{server.url}/function-url/{url_id}/x", "GET", b"", presigned=60))
    assert answer.status_code == 200, answer.text
    assert answer.json()["event"]["rawPath"] == "/x"


def test_a_request_that_is_not_signed_is_forbidden(server: ApiServer, url: str, alice: Credential) -> None:
    host = {"host": urlsplit(url).netloc}
    for headers in (
        host,
        {**host, "authorization": "Bearer x"},
        {**host, "authorization": f"Basic {alice.access_key}"},
    ):
        answer = httpx.get(server.url, headers=headers)
        assert (answer.status_code, answer.json()) == (403, {"Message": "Forbidden"})
        assert answer.headers["x-amzn-errortype"] == "AccessDeniedException"


@pytest.mark.parametrize(
    "changes",
    [{"method": "PUT"}, {"content": b'{"a": 2}'}, {"content": b""}, {"headers": {"Content-Type": "text/plain"}},
     {"headers": {"X-Amz-Date": "20200101T000000Z"}}, {"headers": {"x-amz-more": "1"}},
     {"headers": {"x-amz-security-token": "x"}}],
)  # fmt: skip
def test_a_request_that_was_changed_on_the_way_is_refused(
    server: ApiServer, url: str, alice: Credential, changes: dict[str, Any]
) -> None:
    asked = len(server.front.asked)
    request = sign(alice, url + "x")
    answer = ask(server, request, **changes)
    assert answer.status_code == 403
    assert "message" in answer.json()
    assert answer.headers["x-amzn-errortype"] in ("InvalidSignatureException", "UnrecognizedClientException")
    assert len(server.front.asked) == asked
    assert ask(server, request).status_code == 200


def test_a_key_counts_as_long_as_it_is_in_the_file(
    server: ApiServer, url: str, alice: Credential, caplog: pytest.LogCaptureFixture
) -> None:
    path: Path = server.services.settings.credentials
    bob = credentials.create(path, "bob")
    for key in (alice, bob):
        assert ask(server, sign(key, url)).status_code == 200
    before = path.read_text()
    path.write_text(before.replace("[alice]", "[alice]\nrole_arn = x"))
    with caplog.at_level(logging.ERROR):
        answer = ask(server, sign(alice, url))
        assert ask(server, sign(bob, url)).status_code == 200
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (403, "UnrecognizedClientException")
    assert answer.json() == {"message": "The security token included in the request is invalid."}
    assert "profile alice: role_arn is not supported" in caplog.text
    assert alice.secret not in caplog.text
    path.unlink()
    assert ask(server, sign(bob, url)).status_code == 403


def test_a_body_of_an_unknown_caller_is_not_read(server: ApiServer, url: str, alice: Credential) -> None:
    import socket

    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(
            f"POST / HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Length: 5000000\r\nConnection: close\r\n\r\n".encode()
        )
        found = b""
        while b"}" not in found:
            found += connection.recv(65536)
    assert found.startswith(b"HTTP/1.1 403 ")
