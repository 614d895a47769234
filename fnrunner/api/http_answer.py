"""What clients of function URLs and APIs are told, when there is no answer of a function, and how answers are sent.

Nothing of an inner fault is told, as on AWS: whoever serves logs it under the request id that the client sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace
from datetime import timedelta

from starlette.types import Receive, Scope, Send

from fnrunner.api.errors import ClientGone
from fnrunner.model import limits
from sources.http.response import Response, framed

LINGER_BYTES = 16 * limits.MB
LINGER = timedelta(seconds=5)
"""How much of an oversized body is read and dropped, and for how long, so that its sender gets to see the answer."""

TOO_LARGE = f"Request must be smaller than {limits.SYNC_PAYLOAD_BYTES} bytes for the InvokeFunction operation"


class TooLarge(Exception):
    """The request's body is larger than an event may be."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of endpoint words its refusals: the key of the message, and what each of them is."""

    key: str
    failed: tuple[int, str]
    timed_out: tuple[int, str]
    throttled: str
    too_large: str
    unavailable: str = "Service Unavailable"

    def refuse(self, status: int, message: str | None, code: str = "") -> Response:
        """``code`` goes into ``x-amzn-errortype``."""
        body = json.dumps({self.key: message}, separators=(",", ":")).encode()
        headers = (("content-type", "application/json"),) + ((("x-amzn-errortype", code),) if code else ())
        return Response(status, headers, body)

    def failure(self, error: BaseException) -> Response:
        """The response for an exception of the front, the store or the broker."""
        status = getattr(error, "status", 500)
        if isinstance(error, TooLarge) or status == 413:
            return self.refuse(413, self.too_large, "RequestEntityTooLargeException")
        if isinstance(error, TimeoutError):
            return self._plain(*self.timed_out)
        if status == 429:
            refused = self.refuse(429, self.throttled, "TooManyRequestsException")
            return replace(refused, headers=(*refused.headers, ("retry-after", "1")))
        if status == 503:
            refused = self.refuse(503, self.unavailable, "ServiceException")
            return replace(refused, headers=(*refused.headers, ("retry-after", "1")))
        return self._plain(*self.failed)

    def _plain(self, status: int, message: str) -> Response:
        if self.key == "message":
            return self.refuse(status, message)
        return Response(status, (("content-type", "application/json"),), message.encode())


URL = Dialect(
    key="Message",
    failed=(502, "Internal Server Error"),
    timed_out=(502, "Internal Server Error"),
    throttled="Rate Exceeded.",
    too_large=TOO_LARGE,
)
"""Source: Lambda function URLs."""

API = Dialect(
    key="message",
    failed=(500, "Internal Server Error"),
    timed_out=(503, "Service Unavailable"),
    throttled="Too Many Requests",
    too_large="Request Entity Too Large",
)
"""Source: API Gateway, HTTP APIs with a Lambda integration."""

REST = Dialect(
    key="message",
    failed=(502, "Internal server error"),
    timed_out=(504, "Endpoint request timed out"),
    throttled="Too Many Requests",
    too_large="Request Too Long",
)
"""Source: API Gateway, REST APIs with a Lambda proxy integration; gateway response types."""


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The body, refused as soon as it is known to be too large. Raises TooLarge, ClientGone."""
    for name, value in scope["headers"]:
        # the parser has checked that it is a number
        if name == b"content-length" and int(value) > limits.SYNC_PAYLOAD_BYTES:
            raise TooLarge
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > limits.SYNC_PAYLOAD_BYTES:
            raise TooLarge
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def send_response(send: Send, response: Response, method: str, request_id: str, xray: str = "") -> None:
    """The whole response at once, with its length."""
    out = framed(response, method)
    await send({"type": "http.response.start", "status": out.status, "headers": raw_headers(out, request_id, xray)})
    await send({"type": "http.response.body", "body": out.body})


async def send_and_linger(send: Send, receive: Receive, response: Response, method: str, request_id: str) -> None:
    """As :func:`send_response` to a client that is still sending: some of that is read before the connection closes.

    Closing it at once would reset it, and the client might never see why.
    """
    out = framed(response, method)
    headers = [*raw_headers(out, request_id), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": out.status, "headers": headers})
    await send({"type": "http.response.body", "body": out.body, "more_body": True})
    dropped = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER.total_seconds()):
            while dropped < LINGER_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
    await send({"type": "http.response.body", "body": b""})


def raw_headers(response: Response, request_id: str, xray: str = "") -> list[tuple[bytes, bytes]]:
    headers = [(name.encode("ascii"), value.encode()) for name, value in response.headers]
    headers.append((b"x-amzn-requestid", request_id.encode()))
    if xray:
        headers.append((b"x-amzn-trace-id", xray.encode("latin-1", "replace")))
    return headers
