"""The event of an HTTP request: payload format 2.0, as function URLs and HTTP APIs have it.

>>> request = Request("GET", "/a", "x=1&x=2", (("host", "u.example"),))
>>> built = event(request, Endpoint("u", "u.example"), request_id="r", now=datetime(2020, 3, 12, 19, 3, 58, tzinfo=UTC))
>>> built["queryStringParameters"], built["requestContext"]["time"]
({'x': '1,2'}, '12/Mar/2020:19:03:58 +0000')

Source: Lambda function URLs, request payload; API Gateway, payload format 2.0. What is empty is absent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from sources.http.request import Request

ANONYMOUS = "anonymous"
_TEXT_TYPES = frozenset(("application/json", "application/xml", "application/javascript"))
CONNECTION_HEADERS = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect")
)
"""They concern one connection and not the request."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_REPLACED = frozenset(("cookie", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-amzn-trace-id"))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What was called. ``account`` is :data:`ANONYMOUS` for URLs that anybody may call; ``authorizer`` is the member of
    the request context, None without one. ``trace_id`` is the value of ``X-Amzn-Trace-Id`` that the function is told.
    """

    api_id: str
    domain_name: str
    account: str = ANONYMOUS
    route_key: str = "$default"
    stage: str = "$default"
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    authorizer: Mapping[str, Any] | None = None
    trace_id: str = ""


def event(request: Request, endpoint: Endpoint, *, request_id: str, now: datetime) -> dict[str, Any]:
    """The event as JSON-able values; ``now`` is aware."""
    built: dict[str, Any] = {
        "version": "2.0",
        "routeKey": endpoint.route_key,
        "rawPath": request.raw_path,
        "rawQueryString": request.raw_query,
    }
    if cookies := _cookies(request):
        built["cookies"] = cookies
    built["headers"] = _headers(request, endpoint)
    if query := query_parameters(request.raw_query):
        built["queryStringParameters"] = query
    built["requestContext"] = _context(request, endpoint, request_id, now.astimezone(UTC))
    if endpoint.path_parameters:
        built["pathParameters"] = dict(endpoint.path_parameters)
    built["isBase64Encoded"] = False
    if request.body:
        built["body"], built["isBase64Encoded"] = told_body(request)
    return built


def encode(built: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(built, separators=(",", ":"), ensure_ascii=False).encode()


def query_parameters(raw_query: str) -> dict[str, str]:
    """Decoded, repeats joined with commas, blanks kept.

    >>> query_parameters("a=1&b&a=%20&&c=x+y")
    {'a': '1, ', 'b': '', 'c': 'x y'}
    """
    found: dict[str, list[str]] = {}
    for pair in raw_query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            found.setdefault(decoded(name), []).append(decoded(value))
    return {name: ",".join(values) for name, values in found.items()}


def is_text(content_type: str) -> bool:
    """Whether a body of this type is given as text when it is UTF-8; types such as ``application/problem+json`` are not.

    >>> is_text("text/html; charset=utf-8"), is_text("application/x-www-form-urlencoded"), is_text("")
    (True, False, False)

    Source: measured at API Gateway (lambda event format 2.0); AWS does not document it.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in _TEXT_TYPES


def told_body(request: Request) -> tuple[str, bool]:
    """The body as a text, and whether that is base64."""
    if is_text(request.header("content-type")):
        try:
            return request.body.decode(), False
        except UnicodeDecodeError:
            pass  # compressed, or in another charset
    return base64.b64encode(request.body).decode(), True


def _cookies(request: Request) -> list[str]:
    parts = (part.strip() for value in request.values("cookie") for part in value.split(";"))
    return [part for part in parts if part]


def _headers(request: Request, endpoint: Endpoint) -> dict[str, str]:
    joined: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name not in CONNECTION_HEADERS and name not in _REPLACED:
            joined.setdefault(name, []).append(value)
    headers = {name: ",".join(values) for name, values in joined.items()}
    if endpoint.trace_id:
        headers["x-amzn-trace-id"] = endpoint.trace_id
    headers["x-forwarded-for"] = forwarded_for(request)
    headers["x-forwarded-port"] = str(request.port)
    headers["x-forwarded-proto"] = request.scheme
    return headers


def forwarded_for(request: Request) -> str:
    """What the client said of those before it, and then the client: only the last is known to be true."""
    hops = [hop.strip() for value in request.values("x-forwarded-for") for hop in value.split(",") if hop.strip()]
    if hops[-1:] != [request.source_ip]:
        hops.append(request.source_ip)
    return ", ".join(hops)


def _context(request: Request, endpoint: Endpoint, request_id: str, now: datetime) -> dict[str, Any]:
    return {
        "accountId": endpoint.account,
        "apiId": endpoint.api_id,
        **({"authorizer": dict(endpoint.authorizer)} if endpoint.authorizer is not None else {}),
        "domainName": endpoint.domain_name,
        "domainPrefix": endpoint.domain_name.partition(".")[0],
        "http": {
            "method": request.method,
            "path": request.raw_path,
            "protocol": request.protocol,
            "sourceIp": request.source_ip,
            "userAgent": request.header("user-agent"),
        },
        "requestId": request_id,
        "routeKey": endpoint.route_key,
        "stage": endpoint.stage,
        "time": written_time(now),
        "timeEpoch": int(now.timestamp() * 1000),
    }


def written_time(now: datetime) -> str:
    """``12/Mar/2020:19:03:58 +0000``; ``now`` is in UTC."""
    return f"{now.day:02d}/{_MONTHS[now.month - 1]}/{now:%Y:%H:%M:%S} +0000"


def decoded(text: str) -> str:
    """A name or value of a query."""
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")
