"""Whatever is sent, nothing is a 500, and the server goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fnrunner.api import app, shape
from fnrunner.api.shape import Operation
from tests.api_server import CODE, ROLE, ApiServer

OPERATIONS = {operation.name: operation for operation in shape.load()}
SUPPORTED = [OPERATIONS[route.operation] for route in app.LAMBDA_ROUTES]
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
ODD = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["f", "f:1", "%", "%2F", "%00", "..", "a.b", "$LATEST", "f%3A%24LATEST", "x" * 300, "%ff", "é"])
GENTLE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as running:
        yield running


def accept(answer: httpx.Response) -> None:
    assert answer.status_code < 500, f"{answer.request.method} {answer.request.url}: {answer.text}"
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.status_code >= 400 and answer.content:
        json.loads(answer.content)


def encoded(path: str) -> str:
    return re.sub(r"[^\x21-\x7e]|[?#\[\]\\^`{}|<>\"]", "_", path) or "/"


@GENTLE
@given(method=METHODS, path=st.text(max_size=40).map(lambda text: encoded("/" + text)), body=st.binary(max_size=60))
def test_any_path(client: httpx.Client, method: str, path: str, body: bytes) -> None:
    accept(client.request(method, "/" + path.lstrip("/"), content=body))


@GENTLE
@given(operation=st.sampled_from(SUPPORTED), names=st.lists(NAMES, min_size=3, max_size=3), body=st.binary(max_size=80))
def test_any_bytes_for_any_operation(client: httpx.Client, operation: Operation, names: list[str], body: bytes) -> None:
    path = "/" + "/".join(names.pop() if part.startswith("{") else part for part in operation.path)
    accept(client.request(operation.method, encoded(path), content=body))


def values(operation: Operation) -> st.SearchStrategy[dict[str, Any]]:
    names = [name for name, _ in operation.by_location.get("body", ())]
    return st.dictionaries(st.sampled_from(names or ["x"]) | ODD, JSON, max_size=5)


@GENTLE
@given(data=st.data())
def test_any_json_for_any_operation(client: httpx.Client, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(SUPPORTED))
    document = data.draw(values(operation))
    if operation.name == "CreateFunction":
        document = {"FunctionName": "g", "Role": ROLE, "Runtime": "python3.12", "Handler": "a.b", **document}
    path = "/" + "/".join("f" if part.startswith("{") else part for part in operation.path)
    accept(client.request(operation.method, path, content=json.dumps(document).encode()))


@GENTLE
@given(
    endpoint=st.sampled_from(app.ADMIN_ROUTES), name=NAMES, document=JSON, query=st.dictionaries(
        st.sampled_from(["cursor", "limit", "since_ms", "filter", "request_id", "state", "function", "expires"]), ODD
    )
)  # fmt: skip
def test_anything_for_the_administration(
    client: httpx.Client, endpoint: Any, name: str, document: Any, query: dict[str, str]
) -> None:
    path = re.sub(r"\{[^}]+\}", lambda _: name, endpoint.path)
    content = json.dumps(document).encode()
    accept(client.request(endpoint.method, encoded("/fnrunner/v1" + path), params=query, content=content))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"Code":' * 50_000,
        b'{"Timeout":' + b"9" * 50_000 + b"}",
        b'{"Description":"\\ud800"}',
        b"\xff",
    ],
    ids=["deep array", "deep object", "huge number", "half a pair", "not UTF-8"],
)
@pytest.mark.parametrize("path", ["/2015-03-31/functions", "/fnrunner/v1/queues/q/messages"])
def test_hostile_json_is_refused(client: httpx.Client, body: bytes, path: str) -> None:
    answer = client.post(path, content=body)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "InvalidRequestContentException")


@pytest.mark.parametrize("data", [CODE[:-10], CODE[10:], b"", b"PK\x05\x06" + b"\0" * 18, b"\0" * 1000])
def test_a_hostile_zip_is_refused(client: httpx.Client, data: bytes) -> None:
    import base64

    document = {
        "FunctionName": "z", "Role": ROLE, "Runtime": "python3.12", "Handler": "a.b",
        "Code": {"ZipFile": base64.b64encode(data).decode()},
    }  # fmt: skip
    answer = client.post("/2015-03-31/functions", json=document)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "InvalidParameterValueException")
