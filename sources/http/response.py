"""A function's answer as an HTTP response, by the rules of payload format 2.0.

>>> of_answer(b'{"hello": "world"}').body, of_answer(b'"hello"').body
(b'{"hello":"world"}', b'hello')
>>> of_answer(b'{"statusCode": 201, "body": "made", "cookies": ["a=1"]}').headers
(('content-type', 'application/json'), ('set-cookie', 'a=1'))

Source: Lambda function URLs, response payload.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from sources.errors import SourcesError

JSON = "application/json"
MAX_BODY_BYTES = 6 * 1024 * 1024
Headers = tuple[tuple[str, str], ...]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SPACE = re.compile(r'("[^"\\]*+(?:\\.[^"\\]*+)*+")|[ \t\r\n]+')
"""Nothing is tried twice: a text of many escapes would cost a hundred times its size in places to go back to."""
_REMAPPED = frozenset((
    "connection", "content-length", "date", "keep-alive", "proxy-authenticate", "proxy-connection", "server", "te",
    "trailer", "transfer-encoding", "upgrade", "www-authenticate",
))  # fmt: skip
_BODILESS = (204, 304)


class InvalidAnswer(SourcesError):
    """The function's answer is not a response. Return a JSON value, or an object with statusCode, headers and a body of
    text."""


@dataclass(frozen=True, slots=True)
class Response:
    """Header names are lower-case and may repeat. Values hold no control characters."""

    status: int = 200
    headers: Headers = ()
    body: bytes = b""

    def has(self, name: str) -> bool:
        return any(given == name for given, _ in self.headers)


def of_answer(payload: bytes) -> Response:
    """What a buffered answer means. Raises InvalidAnswer."""
    text, value = parsed(payload)
    if isinstance(value, dict) and "statusCode" in value:
        response = replace(head(value), body=body_of(value))
    elif isinstance(value, str):
        response = Response(200, (("content-type", JSON),), _utf8(value))
    else:
        # numbers stay as they were written: only the space between tokens goes
        response = Response(200, (("content-type", JSON),), _SPACE.sub(lambda match: match[1] or "", text).encode())
    if len(response.body) > MAX_BODY_BYTES:
        raise InvalidAnswer(f"the body has {len(response.body)} bytes; a response has at most {MAX_BODY_BYTES}")
    return response


def head(document: Mapping[str, Any], content_type: str = JSON) -> Response:
    """Status, headers and cookies of an answer or a prelude, without the body. ``content_type`` where it has none.

    Raises InvalidAnswer.
    """
    headers = tuple(headers_of(document.get("headers")))
    if not any(name == "content-type" for name, _ in headers):
        headers = (("content-type", content_type), *headers)
    return Response(status_of(document.get("statusCode", 200)), headers + tuple(_cookies(document.get("cookies"))))


def framed(response: Response, method: str) -> Response:
    """As it goes out: with its length, and without a body where HTTP has none.

    >>> framed(Response(200, (), b"abc"), "HEAD")
    Response(status=200, headers=(('content-length', '3'),), body=b'')
    """
    if response.status in _BODILESS:
        return bodiless(response)
    length = (("content-length", str(len(response.body))),)
    return Response(response.status, response.headers + length, b"" if method == "HEAD" else response.body)


def bodiless(response: Response) -> Response:
    """Without a body and what is said about one."""
    return Response(response.status, tuple(pair for pair in response.headers if pair[0] != "content-type"))


def has_body(status: int, method: str) -> bool:
    return method != "HEAD" and status not in _BODILESS


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def parsed(payload: bytes) -> tuple[str, Any]:
    """An answer as text and as JSON, numbers as they were written. Raises InvalidAnswer."""
    try:
        text = payload.decode()
        return text, json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"the answer is not JSON: {error}") from error


class _Number(str):
    """A JSON number by its text: a million digits cost nothing."""

    __slots__ = ()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, _Number)


def status_of(value: Any) -> int:
    """Raises InvalidAnswer for what is no status of a response."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[2-5][0-9]{2}", text, re.ASCII):
        raise InvalidAnswer(f"statusCode {str(value)[:64]!r} is not a number from 200 to 599")
    return int(text)


def headers_of(given: Any) -> Iterator[tuple[str, str]]:
    """Headers as they go out, from an object of texts or nothing. Raises InvalidAnswer."""
    if given is None:
        return
    if not isinstance(given, dict):
        raise InvalidAnswer("headers is not an object of texts")
    for name, value in given.items():
        if not _NAME.fullmatch(name):
            raise InvalidAnswer(f"{name[:64]!r} is not a header's name")
        if isinstance(value, bool):
            value = str(value).lower()  # noqa: PLW2901
        elif isinstance(value, int | float):
            value = str(value)  # noqa: PLW2901
        if not isinstance(value, str):
            raise InvalidAnswer(f"the header {name[:64]!r} has a value that is not a text")
        yield _mapped(name.lower()), _value(name, value)


def _mapped(name: str) -> str:
    """Names that are the server's own to say come under another one.

    >>> _mapped("content-length"), _mapped("x-amzn-requestid"), _mapped("etag")
    ('x-amzn-remapped-content-length', 'x-amzn-remapped-x-amzn-requestid', 'etag')
    """
    return f"x-amzn-remapped-{name}" if name in _REMAPPED or name.startswith("x-amzn-") else name


def _cookies(given: Any) -> Iterator[tuple[str, str]]:
    if given is None:
        return
    if not isinstance(given, list) or not all(_is_text(cookie) for cookie in given):
        raise InvalidAnswer("cookies is not an array of texts")
    for cookie in given:
        yield "set-cookie", _value("cookies", cookie)


def _value(name: str, value: str) -> str:
    if _BAD_VALUE.search(value):
        raise InvalidAnswer(f"the header {name[:64]!r} holds a control character")
    return _utf8(value).decode()


def body_of(document: Mapping[str, Any]) -> bytes:
    """The body of an answer that is an object. Raises InvalidAnswer."""
    body, encoded = document.get("body"), document.get("isBase64Encoded")
    if encoded is not None and not isinstance(encoded, bool):
        raise InvalidAnswer("isBase64Encoded is neither true nor false")
    if body is None:
        return b""
    if not _is_text(body):
        raise InvalidAnswer("body is not a text")
    if not encoded:
        return _utf8(body)
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError as error:
        raise InvalidAnswer("body is not base64, though isBase64Encoded is true") from error


def _utf8(text: str) -> bytes:
    """Half a surrogate pair, which an escape in JSON can stand for, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
