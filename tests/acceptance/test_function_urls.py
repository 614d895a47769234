"""Function URLs and HTTP APIs of a whole installation, as people call them: boto3 makes them, plain clients call them."""

from __future__ import annotations

import json
import re
import socket
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.installation import Installation, eventually

ECHO = """
    import base64
    import time

    def handler(event, context):
        match event["rawPath"]:
            case "/event":
                return event
            case "/status":
                return {
                    "statusCode": 201, "headers": {"content-type": "text/html", "x-own": "1"},
                    "cookies": ["a=1", "b=2"], "body": "<p>made</p>",
                }
            case "/bytes":
                return {"statusCode": 200, "body": base64.b64encode(bytes(range(256))).decode(), "isBase64Encoded": True}
            case "/text":
                return "hello"
            case "/none":
                return None
            case "/raise":
                raise ValueError("s3cret")
            case "/sleep":
                time.sleep(30)
            case "/large":
                return "x" * (6 * 1024 * 1024 + 1000)
            case "/set":
                return {1, 2}
        return {"statusCode": 404, "body": "nothing here"}
"""
STREAM = """
    import awslambda

    def handler(event, stream, context):
        path = event["rawPath"]
        if path == "/early":
            raise ValueError("s3cret")
        if path == "/head":
            stream = awslambda.HttpResponseStream.from_(
                stream, {"statusCode": 206, "headers": {"x-own": "1"}, "cookies": ["a=1", "b=2"]}
            )
        for number in range(3):
            stream.write(f"piece {number}\\n".encode())
        if path == "/late":
            raise ValueError("s3cret")
        stream.end()

    handler = awslambda.streamify_response(handler)
"""


def raw(installation: Installation, data: bytes) -> bytes:
    """All that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", installation.port), timeout=60) as connection:
        connection.sendall(data)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
    return found


def ask(installation: Installation, url: str, path: str, method: str = "GET", **more: Any) -> httpx.Response:
    """By the URL's own name, on a host whose resolver may not know it."""
    headers = {"host": urlsplit(url).netloc, **more.pop("headers", {})}
    return installation.http.request(method, path, headers=headers, **more)


def test_a_function_url_from_its_creation_to_its_end(installation: Installation, name: str) -> None:
    client = installation.client()
    installation.deploy(name, ECHO, Timeout=3)
    made = client.create_function_url_config(FunctionName=name, AuthType="NONE")
    url = made["FunctionUrl"]
    host = urlsplit(url)
    assert re.fullmatch(rf"http://[a-z0-9]{{32}}\.lambda-url\.us-east-1\.localhost:{installation.port}/", url)

    answer = ask(
        installation, url, "/event?p1=v1&p1=v2&p2=v", "POST", content=b"Hello",
        headers={"content-type": "text/plain", "cookie": "c1=a; c2=b", "user-agent": "test/8", "accept": "*/*"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    event = answer.json()
    context = event["requestContext"]
    assert abs(context["timeEpoch"] / 1000 - datetime.now(UTC).timestamp()) < 120
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context["time"])
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};.*", event["headers"]["x-amzn-trace-id"])
    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/event",
        "rawQueryString": "p1=v1&p1=v2&p2=v",
        "cookies": ["c1=a", "c2=b"],
        "headers": {
            "host": host.netloc, "accept": "*/*", "accept-encoding": answer.request.headers["accept-encoding"],
            "user-agent": "test/8", "content-type": "text/plain", "content-length": "5",
            "x-amzn-trace-id": event["headers"]["x-amzn-trace-id"], "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": str(installation.port), "x-forwarded-proto": "http",
        },
        "queryStringParameters": {"p1": "v1,v2", "p2": "v"},
        "requestContext": {
            "accountId": "anonymous", "apiId": host.netloc.partition(".")[0], "domainName": host.hostname,
            "domainPrefix": host.netloc.partition(".")[0],
            "http": {
                "method": "POST", "path": "/event", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test/8",
            },
            "requestId": context["requestId"], "routeKey": "$default", "stage": "$default", "time": context["time"],
            "timeEpoch": context["timeEpoch"],
        },
        "body": "Hello",
        "isBase64Encoded": False,
    }  # fmt: skip

    answer = ask(installation, url, "/status")
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (201, "<p>made</p>", "1")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert ask(installation, url, "/bytes").content == bytes(range(256))
    assert ask(installation, url, "/text").content == b"hello"
    assert ask(installation, url, "/none").content == b"null"
    assert ask(installation, url, "/other").status_code == 404
    for path in ("/raise", "/sleep", "/large", "/set"):
        answer = ask(installation, url, path)
        assert (answer.status_code, answer.text) == (502, "Internal Server Error"), path
    found = raw(installation, f"GET /text HTTP/1.0\r\nHost: {host.netloc}\r\n\r\n".encode())
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert found.endswith(b"\r\n\r\nhello")
    assert installation.http.get(f"/function-url/{host.netloc.partition('.')[0]}/text").text == "hello"

    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    answer = eventually(lambda: (found := ask(installation, url, "/text")).status_code == 429 and found)
    assert answer.json() == {"Message": "Rate Exceeded."}
    client.delete_function(FunctionName=name)
    answer = ask(installation, url, "/text")
    assert (answer.status_code, answer.json()) == (403, {"Message": None})


def test_a_signed_url_lets_in_who_has_a_key(dev: Installation, name: str) -> None:
    dev.deploy(name, ECHO)
    url = dev.command("url", "create", name, "--auth", "AWS_IAM").stdout.strip()
    assert ask(dev, url, "/text").json() == {"Message": "Forbidden"}
    key = json.loads(dev.command("credentials", "create", "alice", "--json").stdout)
    request = AWSRequest("POST", url + "event?a=1", headers={"Host": urlsplit(url).netloc}, data=b"{}")
    SigV4Auth(Credentials(key["access_key_id"], key["secret_access_key"]), "lambda", "us-east-1").add_auth(request)
    headers = {header.lower(): value for header, value in request.headers.items()}
    answer = ask(dev, url, "/event?a=1", "POST", content=b"{}", headers=headers)
    assert answer.status_code == 200, answer.text
    context = answer.json()["requestContext"]
    assert context["accountId"] == "000000000000"
    assert context["authorizer"]["iam"]["userArn"] == "arn:aws:iam::000000000000:user/alice"
    for path, content in (("/event?a=2", b"{}"), ("/event?a=1", b"[]")):
        answer = ask(dev, url, path, "POST", content=content, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["message"].startswith("The request signature we calculated does not match")


def test_a_streamed_url_sends_pieces_heads_and_errors(dev: Installation, name: str) -> None:
    dev.deploy(name, STREAM)
    url = dev.command("url", "create", name, "--stream", "--json").stdout
    url = json.loads(url)["FunctionUrl"]
    body = "".join(f"piece {number}\n" for number in range(3))
    answer = ask(dev, url, "/")
    assert (answer.status_code, answer.text, answer.headers["transfer-encoding"]) == (200, body, "chunked")
    assert answer.headers["content-type"] == "application/octet-stream"
    answer = ask(dev, url, "/head")
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (206, body, "1")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    answer = ask(dev, url, "/early")
    assert (answer.status_code, answer.text) == (502, "Internal Server Error")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(dev, url, "/late")
    host = urlsplit(url).netloc
    found = raw(dev, f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    assert found.endswith(b"\r\n\r\n" + body.encode())


def test_a_plain_function_behind_a_streaming_url_answers_as_it_is(dev: Installation, name: str) -> None:
    dev.deploy(name, ECHO)
    client = dev.client()
    url = client.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode="RESPONSE_STREAM")[
        "FunctionUrl"
    ]
    answer = ask(dev, url, "/status")
    assert (answer.status_code, answer.json()["statusCode"]) == (200, 201)


def test_pages_read_what_the_rules_let_them(dev: Installation, name: str) -> None:
    dev.deploy(name, ECHO)
    url = dev.command(
        "url", "create", name, "--cors-origin", "https://a.example", "--cors-method", "GET"
    ).stdout.strip()
    asking = {"origin": "https://a.example", "access-control-request-method": "GET"}
    answer = ask(dev, url, "/text", "OPTIONS", headers=asking)
    assert (answer.status_code, answer.headers["access-control-allow-methods"]) == (200, "GET")
    answer = ask(dev, url, "/text", headers={"origin": "https://a.example"})
    assert (answer.text, answer.headers["access-control-allow-origin"]) == ("hello", "https://a.example")
    shown = dev.command("url", "show", name).stdout
    assert url in shown
    assert "AllowOrigins: https://a.example" in shown
    assert url in dev.command("url", "ls").stdout
    assert dev.command("url", "rm", name, "--yes").stdout == f"Removed the URL of {name}.\n"
    assert dev.command("url", "show", name, check=False).returncode == 4
    assert ask(dev, url, "/text").status_code == 403


def test_an_http_api_routes_to_functions(installation: Installation, name: str) -> None:
    installation.deploy(name, "def handler(event, context): return event['routeKey'], event.get('pathParameters')")
    routes = [
        {"method": "GET", "path": "/items/{id}", "function": name},
        {"path": "/any/{proxy+}", "function": name},
    ]
    made = installation.http.put(f"/fnrunner/v1/http-apis/{name}", json={"routes": routes}).json()
    assert made["endpoint"] == f"http://{name}.execute-api.us-east-1.localhost:{installation.port}/"
    assert ask(installation, made["endpoint"], "/items/7").json() == ["GET /items/{id}", {"id": "7"}]
    assert ask(installation, made["endpoint"], "/any/a/b", "DELETE").json() == ["ANY /any/{proxy+}", {"proxy": "a/b"}]
    answer = ask(installation, made["endpoint"], "/items/7", "POST")
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})
