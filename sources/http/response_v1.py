"""A function's answer as an HTTP response, by the rules of payload format 1.0: it is always an object, and of known keys.

>>> of_answer(b'{"statusCode": 201, "multiValueHeaders": {"X-A": ["1", "2"]}, "body": "made"}').headers
(('content-type', 'application/json'), ('x-a', '1'), ('x-a', '2'))
>>> of_answer(b'"hello"')
Traceback (most recent call last):
sources.http.response.InvalidAnswer: the answer is not an object

Source: API Gateway, output format of a Lambda function for proxy integration. A body in base64 is decoded for every client,
whatever types it accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sources.http.response import (
    JSON,
    MAX_BODY_BYTES,
    Headers,
    InvalidAnswer,
    Response,
    body_of,
    headers_of,
    parsed,
    status_of,
)

KEYS = ("statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded")


def of_answer(payload: bytes) -> Response:
    """What a buffered answer means. Raises InvalidAnswer."""
    _, value = parsed(payload)
    if not isinstance(value, dict):
        raise InvalidAnswer("the answer is not an object")
    if unknown := [key for key in value if key not in KEYS]:
        raise InvalidAnswer(f"the answer has {unknown[0][:64]!r}; what it can have is {', '.join(KEYS)}")
    status = 200 if value.get("statusCode") is None else status_of(value["statusCode"])
    response = Response(status, _headers(value), body_of(value))
    if len(response.body) > MAX_BODY_BYTES:
        raise InvalidAnswer(f"the body has {len(response.body)} bytes; a response has at most {MAX_BODY_BYTES}")
    return response


def _headers(value: Mapping[str, Any]) -> Headers:
    """Both kinds as one list: a name and value that both have is there once, in the order of the multi-value form."""
    single = tuple(headers_of(value.get("headers")))
    several = tuple(_several(value.get("multiValueHeaders")))
    merged = tuple(pair for pair in single if pair not in several) + several
    if any(name == "content-type" for name, _ in merged):
        return merged
    return (("content-type", JSON), *merged)


def _several(given: Any) -> Headers:
    if given is None:
        return ()
    if not isinstance(given, dict) or not all(isinstance(values, list) for values in given.values()):
        raise InvalidAnswer("multiValueHeaders is not an object of arrays of texts")
    return tuple(pair for name, values in given.items() for one in values for pair in headers_of({name: one}))
