"""The beginning of a streamed answer: status and headers as JSON, eight NUL bytes, then the body.

>>> reader = PreludeReader()
>>> reader.feed(b'{"statusCode": 201}' + bytes(3))
>>> started = reader.feed(bytes(5) + b"body")
>>> started.head.status, started.body
(201, b'body')

Source: Lambda, response streaming with HTTP metadata (``application/vnd.awslambda.http-integration-response``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sources.http.response import InvalidAnswer, Response, head

CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
DELIMITER = bytes(8)
MAX_BYTES = 16 * 1024
OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Started:
    """``body`` is what has come of the body so far, perhaps nothing."""

    head: Response
    body: bytes


class PreludeReader:
    """Takes pieces, wherever they were cut, until the head is complete. Holds at most 16 KB besides the last piece."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> Started | None:
        """None while more is needed. Raises InvalidAnswer; call it no more after either of the others."""
        self._held += chunk
        end = self._held.find(DELIMITER, 0, MAX_BYTES)
        if end >= 0:
            return Started(_head(self._held[:end]), self._held[end + len(DELIMITER) :])
        if len(self._held) >= MAX_BYTES:
            raise InvalidAnswer(f"the prelude does not end within {MAX_BYTES} bytes: eight NUL bytes must follow it")
        return None

    def end(self) -> InvalidAnswer:
        """What is wrong with an answer that ends before its head is complete."""
        return InvalidAnswer(f"the answer ended within its prelude, after {len(self._held)} bytes")


def wants_prelude(content_type: str) -> bool:
    """Whether an answer of this type begins with a prelude.

    >>> wants_prelude("application/vnd.awslambda.http-integration-response; charset=utf-8"), wants_prelude("text/html")
    (True, False)
    """
    return content_type.partition(";")[0].strip().lower() == CONTENT_TYPE


def plain_head(content_type: str) -> Response:
    """The head of a streamed answer without a prelude: 200, and the type that the runtime said. Raises InvalidAnswer."""
    return head({"headers": {"content-type": content_type or OCTETS}})


def _head(data: bytes) -> Response:
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"the prelude is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidAnswer("the prelude is not a JSON object")
    return head(document, OCTETS)
