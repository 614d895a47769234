"""Keeps web pages out of the API, and gives every response sane security headers.

Without authentication, whoever can make this machine's browser send a request could run functions: by resolving a name of
theirs to 127.0.0.1 (the Host gives that away) or by posting from a page of theirs (the Origin gives that away). What is
open to pages, function URLs and HTTP APIs, is served before it (:mod:`fnrunner.api.http_door`).

>>> local_host("127.0.0.1:9000"), local_host("abc.lambda-url.us-east-1.localhost:9000"), local_host("evil.example")
(True, True, False)
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_OWN_HEADERS = frozenset(name for name, _ in _SECURITY_HEADERS)
MAX_REMEMBERED_HOSTS = 256


class Guard:
    """Wraps the application. ``check_host`` is off where the network is trusted or callers authenticate."""

    def __init__(self, app: ASGIApp, *, check_host: bool) -> None:
        self._app = app
        self._check_host = check_host
        self._hosts: dict[str, bool] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = origin = site = ""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
            elif name == b"sec-fetch-site":
                site = value.decode("latin-1")
        if (remedy := self._objection(host, origin, site)) is not None:
            await _refuse(send, remedy)
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                _secure(message)
            await send(message)

        await self._app(scope, receive, guarded)

    def _objection(self, host: str, origin: str, site: str) -> str | None:
        if self._check_host and not self._local(host):
            return (
                f"The Host {host[:128]!r} is not a name of this machine. Call 127.0.0.1 or localhost, or set"
                " FNRUNNER_TRUST_NETWORK=1 where the network lets only friends in."
            )
        if (origin or site) and _foreign(origin, site, host):
            return f"Web pages of other sites may not call this API (Origin {origin[:128]!r}). Call it from a program."
        return None

    def _local(self, host: str) -> bool:
        if (known := self._hosts.get(host)) is None:
            if len(self._hosts) >= MAX_REMEMBERED_HOSTS:
                self._hosts.clear()
            known = self._hosts[host] = local_host(host)
        return known


def local_host(host: str) -> bool:
    """Whether a Host header names this machine in a way that no name server can claim."""
    name = without_port(host).lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def without_port(host: str) -> str:
    """The name or address in a Host header."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def _foreign(origin: str, site: str, host: str) -> bool:
    """A browser says where a request comes from; programs say nothing and are not asked."""
    if origin:
        return origin.partition("://")[2].lower() != host.lower()
    return site not in ("same-origin", "none")


def _secure(message: MutableMapping[str, Any]) -> None:
    """Adds what the application did not set itself (the console has a policy of its own)."""
    headers = list(message["headers"])
    own = _OWN_HEADERS.intersection(name for name, _ in headers)
    headers.extend(pair for pair in _SECURITY_HEADERS if pair[0] not in own)
    message["headers"] = headers


async def _refuse(send: Send, remedy: str) -> None:
    body = json.dumps({"message": remedy, "error": {"code": "AccessDeniedException", "message": remedy}}).encode()
    start: Message = {
        "type": "http.response.start",
        "status": 403,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-amzn-errortype", b"AccessDeniedException"),
            *_SECURITY_HEADERS,
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
