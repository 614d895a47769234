"""Responses as bytes: a handler's reply, and an error exactly as SDKs read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Send

from fnrunner.api.errors import Failure

JSON = b"application/json"

RawHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """``body`` None is an empty body. ``status`` None is the model's. ``request_id`` replaces the request's own."""

    body: Mapping[str, Any] | None = None
    status: int | None = None
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def encode(body: Mapping[str, Any] | None) -> bytes:
    """Compact JSON, as Lambda answers. None is the empty body."""
    return b"" if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


async def send(send_: Send, status: int, headers: RawHeaders, body: bytes) -> None:
    """The whole response at once."""
    await send_({"type": "http.response.start", "status": status, "headers": headers})
    await send_({"type": "http.response.body", "body": body})


async def send_reply(send_: Send, reply: Reply, status: int, request_id: str) -> None:
    """``status`` is what the model says, for a reply that says nothing. A 204 has no body and no headers about one."""
    if reply.status is not None:
        status = reply.status
    content = encode(reply.body)
    about_body: RawHeaders = [(b"content-type", JSON), (b"content-length", b"%d" % len(content))]
    headers = [(b"x-amzn-requestid", (reply.request_id or request_id).encode()), *_raw(reply.headers)]
    if status == 204:
        await send(send_, status, headers, b"")
    else:
        await send(send_, status, about_body + headers, content)


async def send_failure(send_: Send, failure: Failure, request_id: str) -> None:
    """The code in a header, the message under the key that its shape in the model has."""
    content = failure.lambda_body()
    headers = [
        (b"content-type", JSON),
        (b"content-length", b"%d" % len(content)),
        (b"x-amzn-requestid", request_id.encode()),
        (b"x-amzn-errortype", failure.code.encode("latin-1", "replace")),
        *_raw(failure.headers),
    ]
    await send(send_, failure.status, headers, content)


def _raw(headers: Mapping[str, str]) -> RawHeaders:
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
