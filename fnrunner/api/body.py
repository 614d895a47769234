"""Request bodies: read under a limit that holds while they stream in, and parsed without trusting them."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NoReturn

from starlette.types import Receive

from fnrunner.api.errors import BodyTooLarge, ClientGone, InvalidRequestContent

DRAIN_BYTES = 256 * 1024 * 1024
"""How much of an oversized body is read and dropped, so that the client, which reads only then, sees the answer."""


class TooLong(Exception):
    """The body is longer than the limit; ``size`` is its length as far as it is known."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the body has {size} bytes")


async def read(receive: Receive, limit: int) -> bytes:
    """The whole body, at most ``limit`` bytes of it in memory. Raises TooLong after draining, and ClientGone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    first: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(first) <= limit:
        return first  # one message is the usual case: no copy
    parts, size = [first], len(first)
    while message.get("more_body", False) and size <= DRAIN_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            parts.append(chunk)
        else:
            parts.clear()
    if size > limit:
        raise TooLong(size)
    return b"".join(parts)


async def read_limited(receive: Receive, limit: int, operation: str) -> bytes:
    """The body. Raises BodyTooLarge with Lambda's text, and ClientGone."""
    try:
        return await read(receive, limit)
    except TooLong as error:
        raise BodyTooLarge(f"Request must be smaller than {limit} bytes for the {operation} operation") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse(body: bytes) -> Any:
    """The body as JSON, strictly: UTF-8, no NaN. An empty body is ``{}``. Raises InvalidRequestContent."""
    if not body:
        return {}
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        if b"\\u" in body:
            # an escape may stand for half of a surrogate pair, which no store and no file takes
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise InvalidRequestContent("Could not parse request body into json: it is nested too deeply") from error
    except ValueError as error:
        raise InvalidRequestContent(f"Could not parse request body into json: {error}") from error
    return value


def parse_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises InvalidRequestContent."""
    value = parse(body)
    if not isinstance(value, dict):
        raise InvalidRequestContent("Could not parse request body into json: it is not an object")
    return value


def blob(text: Any, name: str) -> bytes:
    """A blob member, base64 as every SDK sends it. Raises InvalidRequestContent."""
    if not isinstance(text, str):
        raise InvalidRequestContent(f"Could not parse request body into json: '{name}' takes base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestContent(f"Could not parse request body into json: '{name}' is not base64") from error
