"""Whether a successful answer is of its output shape: status, headers, keys, JSON types, and times in their own form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from botocore.model import ListShape, MapShape, Shape, StructureShape

from tests.conformance.api import model

STATUS = {"DeleteFunction": {204}, "Invoke": {200, 202, 204}}
"""Where Lambda answers otherwise than its model says."""
TIMES = {
    "LastModified": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?\+0000",
    "CreatedDate": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000",
    "CreationTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "LastModifiedTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
}
"""Times that are text on the wire. The others are seconds since 1970, as numbers."""
ALWAYS = {
    "FunctionConfiguration": {
        "FunctionName", "FunctionArn", "Runtime", "Role", "Handler", "CodeSize", "Description", "Timeout", "LastModified",
        "CodeSha256", "Version", "MemorySize", "TracingConfig", "RevisionId", "PackageType", "Architectures",
        "EphemeralStorage", "SnapStart", "LoggingConfig",
    },
    "AliasConfiguration": {"AliasArn", "Name", "FunctionVersion", "Description", "RevisionId"},
    "GetFunctionResponse": {"Configuration", "Code"},
    "FunctionEventInvokeConfig": {"LastModified", "FunctionArn", "DestinationConfig"},
    "GetAccountSettingsResponse": {"AccountLimit", "AccountUsage"},
}  # fmt: skip
"""Keys that Lambda never leaves out, beyond the ones that the model requires."""
MAY_BE_EMPTY = {"GetFunctionCodeSigningConfig"}
"""What answers ``{}`` where there is nothing, although its model requires keys."""
BEYOND = {("LastUpdateStatusReasonCode", "Creating")}
"""What Lambda answers although its model does not list it."""


def complaints_about(name: str, status: int, headers: Mapping[str, str], body: bytes) -> Iterator[str]:
    """Nothing, when the answer is right."""
    operation = model.operation(name)
    expected = STATUS.get(name, {operation.http.get("responseCode", 200)})
    if status not in expected:
        yield f"the status is {status}, not {sorted(expected)}"
    found = {key.lower(): value for key, value in headers.items()}
    try:
        UUID(found.get("x-amzn-requestid", ""))
    except ValueError:
        yield f"the request id is {found.get('x-amzn-requestid')!r}"
    shape = operation.output_shape
    if shape is None or not body or shape.serialization.get("payload") or operation.has_event_stream_output:
        if status == 204 and body:
            yield "a 204 has a body"
        return
    if name in MAY_BE_EMPTY and json.loads(body) == {}:
        return
    if found.get("content-type") != "application/json":
        yield f"the content type is {found.get('content-type')}"
    yield from _structure(shape, json.loads(body), name)


def _structure(shape: StructureShape, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is no object: {value!r}"
        return
    members = {model.wire_name(member, key): (key, member) for key, member in shape.members.items()}
    for key, item in value.items():
        if key not in members:
            yield f"{path}.{key} is not in the model"
        else:
            yield from _value(members[key][1], item, f"{path}.{key}")
    for key in {*shape.required_members, *ALWAYS.get(shape.name, ())} - set(value):
        yield f"{path}.{key} is missing"


def _value(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        yield from _structure(shape, value, path)
    elif isinstance(shape, ListShape):
        if not isinstance(value, list):
            yield f"{path} is no list: {value!r}"
            return
        for number, item in enumerate(value):
            yield from _value(shape.member, item, f"{path}[{number}]")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from _value(shape.value, item, f"{path}.{key}")
    else:
        yield from _scalar(shape, value, path)


def _scalar(shape: Shape, value: Any, path: str) -> Iterator[str]:
    types: dict[str, tuple[type, ...]] = {
        "string": (str,), "integer": (int,), "long": (int,), "boolean": (bool,), "double": (int, float), "float": (int, float),
        "timestamp": (int, float), "blob": (str,),
    }  # fmt: skip
    if not isinstance(value, types[shape.type_name]) or (isinstance(value, bool) and shape.type_name != "boolean"):
        yield f"{path} is no {shape.type_name}: {value!r}"
        return
    rules = shape.metadata
    if rules.get("enum") and (path.rpartition(".")[2], value) not in BEYOND and value not in rules["enum"]:
        yield f"{path} is {value!r}, not one of {rules['enum']}"
    pattern = TIMES.get(path.rpartition(".")[2])
    if pattern and shape.type_name == "string" and re.fullmatch(pattern, value) is None:
        yield f"{path} is no time of its kind: {value!r}"
