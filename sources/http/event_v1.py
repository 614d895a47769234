"""The event of an HTTP request: payload format 1.0, as REST APIs have it and HTTP APIs can.

>>> request = Request("GET", "/Prod/a", "x=1&x=2", (("host", "u.example"),))
>>> endpoint = Endpoint("u", "u.example", route_key="GET /a", stage="Prod")
>>> built = event(request, endpoint, request_id="r", now=datetime(2020, 3, 12, 19, 3, 58, tzinfo=UTC), rest=True)
>>> built["path"], built["queryStringParameters"], built["multiValueQueryStringParameters"], built["body"]
('/a', {'x': '2'}, {'x': ['1', '2']}, None)

Source: API Gateway, input format of a Lambda function for proxy integration; HTTP APIs, payload format version 1.0. What is
empty is null. How a client wrote the names of its headers is not known any more: a REST API's events have each word of them
begin with a capital, as most clients write them, and an HTTP API's are lower-case, as documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sources.http.event import CONNECTION_HEADERS, Endpoint, decoded, forwarded_for, told_body, written_time
from sources.http.request import Request

_OWN = frozenset(("x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id"))
_NOT_TOLD = frozenset(("content-length",))
_NOBODY = (
    "accessKey", "accountId", "caller", "cognitoAuthenticationProvider", "cognitoAuthenticationType", "cognitoIdentityId",
    "cognitoIdentityPoolId", "principalOrgId",
)  # fmt: skip
"""What is known of a caller that has signed; routes ask nobody to."""


def event(request: Request, endpoint: Endpoint, *, request_id: str, now: datetime, rest: bool) -> dict[str, Any]:
    """The event as JSON-able values; ``now`` is aware. ``rest``: of a REST API, whose path is without the stage."""
    headers = _headers(request, endpoint, rest)
    query = _query(request.raw_query)
    body, encoded = told_body(request) if request.body else (None, False)
    resource = endpoint.route_key.partition(" ")[2] or endpoint.route_key
    return {
        **({} if rest else {"version": "1.0"}),
        "resource": resource,
        "path": _below(endpoint.stage, request.raw_path) if rest else request.raw_path,
        "httpMethod": request.method,
        "headers": _last(headers),
        "multiValueHeaders": headers or None,
        "queryStringParameters": _last(query),
        "multiValueQueryStringParameters": query or None,
        "pathParameters": dict(endpoint.path_parameters) or None,
        "stageVariables": None,
        "requestContext": _context(request, endpoint, resource, request_id, now.astimezone(UTC)),
        "body": body,
        "isBase64Encoded": encoded,
    }


def _context(request: Request, endpoint: Endpoint, resource: str, request_id: str, now: datetime) -> dict[str, Any]:
    return {
        "accountId": endpoint.account,
        "apiId": endpoint.api_id,
        "domainName": endpoint.domain_name,
        "domainPrefix": endpoint.domain_name.partition(".")[0],
        "extendedRequestId": request_id,
        "httpMethod": request.method,
        "identity": {
            **dict.fromkeys(_NOBODY),
            "sourceIp": request.source_ip,
            "user": None,
            "userAgent": request.header("user-agent") or None,
            "userArn": None,
        },
        "path": request.raw_path,
        "protocol": request.protocol,
        "requestId": request_id,
        "requestTime": written_time(now),
        "requestTimeEpoch": int(now.timestamp() * 1000),
        "resourceId": endpoint.route_key,
        "resourcePath": resource,
        "stage": endpoint.stage,
    }


def _headers(request: Request, endpoint: Endpoint, rest: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name not in CONNECTION_HEADERS and name not in _OWN and name not in _NOT_TOLD:
            found.setdefault(name, []).append(value)
    if endpoint.trace_id:
        found["x-amzn-trace-id"] = [endpoint.trace_id]
    found["x-forwarded-for"] = [forwarded_for(request)]
    found["x-forwarded-port"] = [str(request.port)]
    found["x-forwarded-proto"] = [request.scheme]
    return {capital(name): values for name, values in found.items()} if rest else found


def capital(name: str) -> str:
    """
    >>> capital("x-forwarded-for"), capital("dnt")
    ('X-Forwarded-For', 'Dnt')
    """
    return "-".join(word.capitalize() for word in name.split("-"))


def _query(raw_query: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in raw_query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            found.setdefault(decoded(name), []).append(decoded(value))
    return found


def _last(values: Mapping[str, list[str]]) -> dict[str, str] | None:
    """Of several values of one name the last: the others are in the multi-value form alone."""
    return {name: given[-1] for name, given in values.items()} or None


def _below(stage: str, raw_path: str) -> str:
    return raw_path.removeprefix(f"/{stage}") or "/"
