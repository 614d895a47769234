"""From an HTTP request to the parameters of an operation, ready for its handler.

::

    method, raw path ─► Router ─► Operation ─► parameters (path, query, headers, body) ─► validate ─► refuse unsupported
    ─► handler(Call) ─► Reply
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Scope

from fnrunner.api import body as request_body
from fnrunner.api.errors import InvalidParameter, InvalidRequestContent
from fnrunner.api.response import Reply
from fnrunner.api.services import Services
from fnrunner.api.shape import Member, Operation, Shape

MAX_QUERY_FIELDS = 200
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,100}")
"""Python's int would take blanks, underscores and other scripts' digits as well."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request of an operation, read and validated. ``params`` are named as in the model; absent means not given.

    ``base_url`` is how the client reached this server, for links that lead back to it. ``now`` is the time of the request,
    ``content`` its body as it came, ``headers`` are by lower-case name.
    """

    operation: Operation
    params: Mapping[str, Any]
    request_id: str
    services: Services
    base_url: str
    now: datetime
    content: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """An operation that this release has. Method, path and shapes are the model's.

    ``supports`` names the parameters that take effect, with a dot for members of structures (``Code.ZipFile``). Every other
    parameter of the model is refused by name, unless its value means *off*.
    """

    operation: str
    handle: Handler
    supports: frozenset[str]


def supporting(*names: str) -> frozenset[str]:
    return frozenset(names)


def query_of(scope: Scope) -> dict[str, list[str]]:
    """The query, decoded, blanks kept. Raises InvalidParameter for one with too many fields."""
    if not (raw := scope["query_string"]):
        return {}
    try:
        return parse_qs(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError as error:
        raise InvalidParameter(f"The query has more than {MAX_QUERY_FIELDS} fields.") from error


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers by lower-case name, the last of each."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def parameters(
    operation: Operation,
    labels: Mapping[str, str],
    query: Mapping[str, list[str]],
    headers: Mapping[str, str],
    body: bytes,
) -> dict[str, Any]:
    """Every parameter that was given, by its name in the model; JSON nulls count as not given.

    Raises InvalidRequestContent, and InvalidParameter for a parameter that the operation does not have.
    """
    params: dict[str, Any] = {}
    for name, member in operation.by_location.get("uri", ()):
        if member.wire_name in labels:
            params[name] = _from_text(member.shape, [labels[member.wire_name]], name)
    for name, member in operation.by_location.get("querystring", ()):
        if member.wire_name in query:
            params[name] = _from_text(member.shape, query[member.wire_name], name)
    for name, member in operation.by_location.get("header", ()):
        if (value := headers.get(member.wire_name.lower())) is not None:
            params[name] = _from_text(member.shape, [value], name)
    for name, member in operation.by_location.get("payload", ()):
        if member.shape.kind == "blob":
            params[name] = body
    if in_body := operation.by_location.get("body"):
        params.update(_from_body(operation, dict(in_body), request_body.parse_object(body)))
    return params


def _from_body(operation: Operation, members: Mapping[str, Member], given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in members:
            raise InvalidParameter(f"{operation.name} has no parameter {name[:128]}.")
    return {name: _from_json(members[name].shape, value, name) for name, value in given.items() if value is not None}


def _from_json(shape: Shape, value: Any, path: str) -> Any:
    """Blobs decoded and nulls dropped at every depth that the model knows; the rest is as it came, for validation."""
    if shape.kind == "blob":
        return request_body.blob(value, path)
    if shape.kind == "structure" and isinstance(value, dict):
        for name in value:
            if name not in shape.members:
                raise InvalidParameter(f"{path} has no parameter {name[:128]}.")
        return {
            name: _from_json(shape.members[name].shape, item, f"{path}.{name}")
            for name, item in value.items()
            if item is not None
        }
    if shape.kind == "list" and isinstance(value, list) and shape.item is not None:
        inner = shape.item
        return [_from_json(inner, item, f"{path}.{position}") for position, item in enumerate(value, 1)]
    if shape.kind == "map" and isinstance(value, dict) and shape.item is not None:
        inner = shape.item
        return {name: _from_json(inner, item, path) for name, item in value.items() if item is not None}
    return value


def _from_text(shape: Shape, texts: list[str], name: str) -> Any:
    if shape.kind == "list":
        return texts
    text = texts[-1]
    if shape.kind in ("integer", "long"):
        if _WHOLE_NUMBER.fullmatch(text) is None:
            raise InvalidRequestContent(f"{name} takes a whole number.")
        return int(text)
    if shape.kind == "boolean":
        if text not in ("true", "false"):
            raise InvalidRequestContent(f"{name} takes true or false.")
        return text == "true"
    return text
