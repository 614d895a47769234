"""Requests made wrong on purpose, from the model: each is a modelled 4xx, and nothing changes.

For every operation of this release and every parameter of it: missing, of a wrong type, too short or long, out of range,
not in the enumeration, not matching the pattern, and unknown.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from fnrunner.api import app, shape
from fnrunner.api.shape import Member, Operation, Shape
from tests.api_server import CODE, HOME, ROLE, ApiServer

OPERATIONS = {operation.name: operation for operation in shape.load()}
ARN = HOME.function("f")
ZIP = base64.b64encode(CODE).decode()
UNKNOWN = "00000000-0000-4000-8000-000000000000"
GOOD: dict[str, dict[str, Any]] = {
    "CreateFunction": {
        "FunctionName": "new", "Role": ROLE, "Code": {"ZipFile": ZIP}, "Runtime": "python3.12", "Handler": "app.handler"
    },
    "UpdateFunctionCode": {"FunctionName": "f", "ZipFile": ZIP},
    "UpdateFunctionConfiguration": {"FunctionName": "f", "Description": "changed"},
    "InvokeAsync": {"FunctionName": "f", "InvokeArgs": "{}"},
    "ListFunctions": {},
    "GetAccountSettings": {},
    "PutFunctionEventInvokeConfig": {"FunctionName": "f", "MaximumRetryAttempts": 1},
    "UpdateFunctionEventInvokeConfig": {"FunctionName": "f", "MaximumRetryAttempts": 1},
    "PutFunctionConcurrency": {"FunctionName": "f", "ReservedConcurrentExecutions": 5},
    "ListTags": {"Resource": ARN},
    "TagResource": {"Resource": ARN, "Tags": {"k": "v"}},
    "UntagResource": {"Resource": ARN, "TagKeys": ["a"]},
    "Invoke": {"FunctionName": "f", "Payload": "{}"},
    "CreateAlias": {"FunctionName": "f", "Name": "new", "FunctionVersion": "$LATEST"},
    "GetAlias": {"FunctionName": "f", "Name": "live"},
    "UpdateAlias": {"FunctionName": "f", "Name": "live", "Description": "changed"},
    "DeleteAlias": {"FunctionName": "f", "Name": "live"},
    "CreateEventSourceMapping": {
        "FunctionName": "f", "EventSourceArn": HOME.queue("missing"), "Enabled": False
    },
    "GetEventSourceMapping": {"UUID": UNKNOWN},
    "ListEventSourceMappings": {},
    "UpdateEventSourceMapping": {"UUID": UNKNOWN, "Enabled": False},
    "DeleteEventSourceMapping": {"UUID": UNKNOWN},
}  # fmt: skip
CODES = {
    "ValidationException", "InvalidParameterValueException", "InvalidRequestContentException",
    "ResourceNotFoundException", "UnknownOperationException",
}  # fmt: skip


@dataclass(frozen=True)
class Wrong:
    """One request that must be refused, and how it was made wrong."""

    operation: Operation
    params: dict[str, Any]
    how: str

    def __str__(self) -> str:
        return f"{self.operation.name}: {self.how}"


def wrong_requests() -> Iterator[Wrong]:
    for name in [*(route.operation for route in app.LAMBDA_ROUTES), "Invoke"]:
        operation = OPERATIONS[name]
        good = GOOD.get(name, {"FunctionName": "f"})
        for parameter, member in operation.input.members.items():
            if parameter in operation.input.required and member.location != "uri" and member.location != "payload":
                yield Wrong(operation, {k: v for k, v in good.items() if k != parameter}, f"{parameter} is missing")
            for value, how in bad_values(member.shape, member):
                yield Wrong(operation, {**good, parameter: value}, f"{parameter} {how}")
        if "body" in operation.by_location:
            yield Wrong(operation, {**good, "Nonsense": 1}, "an unknown parameter")


def bad_values(shape: Shape, member: Member) -> Iterator[tuple[Any, str]]:
    if member.location == "payload":
        return
    yield from broken_rules(shape)
    if member.location == "body":
        for value in ("text", 7, 1.5, True, [], {}, [[]], {"a": {}}, [None], "\0"):
            if not fits(shape, value):
                yield value, f"is {json.dumps(value)}"
    if shape.kind == "structure":
        for name, inner in shape.members.items():
            for value, how in bad_values(inner.shape, inner):
                yield {name: value}, f".{name} {how}"


def broken_rules(shape: Shape) -> Iterator[tuple[Any, str]]:
    if shape.enum:
        yield "Nonsense", "is not in its enumeration"
    if shape.kind in ("integer", "long"):
        for value, how in ((shape.minimum, -1), (shape.maximum, 1)):
            if value is not None:
                yield value + how, "is out of range"
        yield 10**30 if shape.maximum else -(10**30), "is huge"
        return
    if shape.kind == "string":
        if shape.pattern:
            yield "\u00e9!\t ?x", "does not match its pattern"
        if shape.maximum is not None and shape.maximum < 5_000:
            yield "a" * (shape.maximum + 1), "is too long"


def fits(shape: Shape, value: Any) -> bool:
    """Whether the value is of the shape's JSON type, so that refusing it is not this test's business."""
    if shape.kind == "string":
        return isinstance(value, str) and "\0" not in value
    if shape.kind in ("integer", "long"):
        return isinstance(value, int) and not isinstance(value, bool)
    if shape.kind == "boolean":
        return isinstance(value, bool)
    if shape.kind == "list":
        return value == [] or value == [None]
    return value == {}


CASES = list(wrong_requests())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running, httpx.Client(base_url=running.url) as client:
        created = ask(client, OPERATIONS["CreateFunction"], {**GOOD["CreateFunction"], "FunctionName": "f"})
        assert created.status_code == 201, created.text
        assert ask(client, OPERATIONS["PutFunctionEventInvokeConfig"], GOOD["PutFunctionEventInvokeConfig"]).is_success
        assert ask(client, OPERATIONS["TagResource"], {"Resource": ARN, "Tags": {"a": "1"}}).is_success
        alias = {"FunctionName": "f", "Name": "live", "FunctionVersion": "$LATEST"}
        assert ask(client, OPERATIONS["CreateAlias"], alias).status_code == 201
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as running:
        yield running


def ask(client: httpx.Client, operation: Operation, params: dict[str, Any]) -> httpx.Response:
    """Send it as botocore would, but without looking at it."""
    members = operation.input.members
    path, query, headers, body, content = "/".join(operation.path), dict(operation.query), {}, {}, b""
    pairs: list[tuple[str, str]] = list(query.items())
    for name, value in params.items():
        member = members.get(name)
        if member is None or member.location == "body":
            body[name] = value
        elif member.location == "uri":
            path = path.replace(f"{{{member.wire_name}}}", quote(str(value), safe=""))
        elif member.location == "querystring":
            pairs += [(member.wire_name, str(item)) for item in (value if isinstance(value, list) else [value])]
        elif member.location == "header":
            headers[member.wire_name] = str(value).encode("utf-8")
        else:
            content = str(value).encode()
    if "body" in operation.by_location:
        content = json.dumps(body).encode()
    return client.request(operation.method, f"/{path}", params=pairs, headers=headers, content=content)


def state(client: httpx.Client) -> Any:
    documents = [
        client.get(path).json()
        for path in (
            "/2015-03-31/functions",
            "/2015-03-31/functions/f",
            "/2015-03-31/functions/f/versions",
            "/2015-03-31/functions/f/aliases",
            "/2019-09-25/functions/f/event-invoke-config",
            "/2019-09-30/functions/f/concurrency",
            f"/2017-03-31/tags/{quote(ARN, safe='')}",
        )
    ]
    documents[1].pop("Code")
    return documents


@pytest.mark.parametrize("name", [*(route.operation for route in app.LAMBDA_ROUTES), "Invoke"])
def test_a_request_made_wrong_is_a_modelled_4xx_and_changes_nothing(
    name: str, client: httpx.Client, server: ApiServer
) -> None:
    before = state(client)
    asked = len(server.front.asked)
    cases = [case for case in CASES if case.operation.name == name]
    for case in cases:
        if case.how.startswith("TagKeys") and case.how.endswith("is huge"):
            continue
        answer = ask(client, case.operation, case.params)
        code = answer.headers.get("x-amzn-errortype")
        assert 400 <= answer.status_code < 500, f"{case}: {answer.status_code} {answer.text}"
        assert code in CODES, f"{case}: {code} {answer.text}"
        document = answer.json()
        assert document.get("message") or document.get("Message"), f"{case}: {document}"
        assert answer.headers["x-amzn-requestid"]
    assert state(client) == before
    assert len(server.front.asked) == asked


def test_the_cases_are_many_and_the_good_requests_are_good(client: httpx.Client) -> None:
    assert len(CASES) > 300
    for name in (
        "UpdateFunctionEventInvokeConfig",
        "ListTags",
        "GetAccountSettings",
        "ListFunctions",
        "Invoke",
        "UpdateAlias",
    ):
        answer = ask(client, OPERATIONS[name], GOOD[name])
        assert answer.is_success, f"{name}: {answer.text}"


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]}, "Layers"),
        ({"VpcConfig": {"SubnetIds": ["subnet-1"]}}, "VpcConfig"),
        ({"FileSystemConfigs": [{"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0",
                                 "LocalMountPath": "/mnt/a"}]}, "FileSystemConfigs"),
        ({"ImageConfig": {"Command": ["x"]}}, "ImageConfig"),
        ({"SnapStart": {"ApplyOn": "PublishedVersions"}}, "SnapStart"),
        ({"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}, "KMSKeyArn"),
        ({"PackageType": "Image"}, "PackageType"),
        ({"TracingConfig": {"Mode": "Active"}}, "TracingConfig"),
        ({"Code": {"S3Bucket": "bucket", "S3Key": "key"}}, "Code.S3Bucket"),
        ({"Code": {"ImageUri": "image"}}, "Code.ImageUri"),
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "TenancyConfig"),
    ],
)  # fmt: skip
def test_a_parameter_that_would_have_no_effect_is_refused_by_name(
    client: httpx.Client, params: dict[str, Any], name: str
) -> None:
    answer = ask(client, OPERATIONS["CreateFunction"], {**GOOD["CreateFunction"], **params})
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "InvalidParameterValueException")
    assert answer.json() == {
        "Type": "User",
        "message": f"fnrunner 9.9.9 does not support the parameter {name} of CreateFunction yet.",
    }


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_every_operation_that_this_release_has_not_says_its_name(client: httpx.Client, operation: Operation) -> None:
    has = {*(route.operation for route in app.LAMBDA_ROUTES), "Invoke", "InvokeWithResponseStream"}
    if operation.name in has:
        return
    path = "/" + "/".join("x" if part.startswith("{") else part for part in operation.path)
    answer = client.request(operation.method, path, params=dict(operation.query))
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "InvalidParameterValueException")
    assert answer.json()["message"] == f"fnrunner 9.9.9 does not support {operation.name} yet."
