"""Cross-origin rules of an endpoint: what a browser is told before and with an answer.

Where rules are configured, they alone decide: what a function says in headers of its own about origins is dropped, since a
browser refuses two answers. A page of an origin that is not allowed gets no such header; the function runs all the same.

Source: Lambda API, Cors; API Gateway, configuring CORS for HTTP APIs; Fetch standard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from sources.http.request import Request
from sources.http.response import Headers, Response

_DECIDED = frozenset((
    "access-control-allow-origin", "access-control-allow-credentials", "access-control-allow-methods",
    "access-control-allow-headers", "access-control-expose-headers", "access-control-max-age",
))  # fmt: skip


class Rules(Protocol):
    """What is configured; an empty list allows nothing. ``*`` in a list is everything, ``https://*`` every such origin."""

    @property
    def allow_credentials(self) -> bool: ...
    @property
    def allow_headers(self) -> tuple[str, ...]: ...
    @property
    def allow_methods(self) -> tuple[str, ...]: ...
    @property
    def allow_origins(self) -> tuple[str, ...]: ...
    @property
    def expose_headers(self) -> tuple[str, ...]: ...
    @property
    def max_age_s(self) -> int: ...


def is_preflight(request: Request) -> bool:
    """Whether a browser asks if it may ask."""
    return (
        request.method == "OPTIONS"
        and bool(request.header("origin"))
        and bool(request.header("access-control-request-method"))
    )


def preflight(rules: Rules, request: Request, status: int) -> Response:
    """The answer to a preflight, with which no function has to do."""
    headers = list(_origin(rules, request.header("origin")))
    if headers:
        headers += _listed("methods", rules.allow_methods, request.header("access-control-request-method"), rules)
        headers += _listed("headers", rules.allow_headers, request.header("access-control-request-headers"), rules)
        if rules.max_age_s:
            headers.append(("access-control-max-age", str(rules.max_age_s)))
    return Response(status, (*headers, *_vary(rules)))


def applied(rules: Rules | None, request: Request, response: Response) -> Response:
    """The response with what the rules say, in the place of what it says itself; without rules as it is."""
    if rules is None:
        return response
    kept = tuple(pair for pair in response.headers if pair[0] not in _DECIDED)
    said: Headers = tuple(_origin(rules, request.header("origin")))
    if said and rules.expose_headers:
        said += (("access-control-expose-headers", ",".join(rules.expose_headers)),)
    return replace(response, headers=kept + said + _vary(rules))


def _origin(rules: Rules, origin: str) -> list[tuple[str, str]]:
    """The headers that let pages of this origin read the answer; none when they may not."""
    if not origin or not allows(rules.allow_origins, origin):
        return []
    everyone = "*" in rules.allow_origins and not rules.allow_credentials
    headers = [("access-control-allow-origin", "*" if everyone else origin)]
    if rules.allow_credentials:
        headers.append(("access-control-allow-credentials", "true"))
    return headers


def allows(allowed: Sequence[str], origin: str) -> bool:
    """Whether one of the allowed origins is this one.

    >>> allows(["https://a.example"], "https://a.example"), allows(["https://*"], "http://a.example"), allows(["*"], "null")
    (True, False, True)
    """
    return any(
        entry in ("*", origin) or (entry.endswith("://*") and origin.startswith(entry[:-1])) for entry in allowed
    )


def _listed(kind: str, allowed: tuple[str, ...], asked: str, rules: Rules) -> list[tuple[str, str]]:
    """With credentials a browser takes ``*`` for the name of a header: then what it asks for is repeated to it."""
    if not allowed:
        return []
    every = "*" in allowed and rules.allow_credentials
    return [(f"access-control-allow-{kind}", asked if every and asked else ",".join(allowed))]


def _vary(rules: Rules) -> Headers:
    """What differs from origin to origin must not be cached for all of them."""
    return () if "*" in rules.allow_origins and not rules.allow_credentials else (("vary", "Origin"),)
