"""The HTTP door as the commands use it: the same one that boto3 calls, plus what is under ``/fnrunner/v1/``.

It stands on ``http.client``: importing httpx takes longer than all the rest of ``fnrunner invoke`` together. Each call
opens its own connection, so a server that restarted between two calls goes unnoticed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from fnrunner import __version__
from fnrunner.cli import remedy
from fnrunner.cli.error import ServerRefused, ServerUnreachable, UsageFault
from fnrunner.cli.output import clean
from fnrunner.model.arn import FunctionRef, InvalidArn

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

FUNCTIONS = "/2015-03-31/functions"
MAPPINGS = "/2015-03-31/event-source-mappings/"
ADMIN = "/fnrunner/v1"
STREAMED_FUNCTIONS = "/2021-11-15/functions"
CHUNK_BYTES = 64 * 1024
READ_TIMEOUT = timedelta(seconds=60)

_WANTS_SIGNATURE = "MissingAuthenticationTokenException"
_QUESTION_TIMEOUT = timedelta(seconds=5)

Progress = Callable[[int, int], None]
"""Called with bytes sent and bytes in all."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer below 400. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None when it is empty. Raises ServerRefused when it is something else."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ServerRefused(
                f"The answer is not JSON: {self.body[:80]!r}", "Is this a fnrunner endpoint? Check --endpoint-url."
            ) from error


class Client:
    """Calls one endpoint, such as ``http://127.0.0.1:9000``."""

    def __init__(self, endpoint_url: str) -> None:
        parts = urlsplit(endpoint_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageFault(f"--endpoint-url: {endpoint_url!r} is no address", "It has the form http://127.0.0.1:9000")
        self.endpoint_url = endpoint_url.rstrip("/")
        self._parts = parts
        # None: not known yet
        self._signs: bool | None = True if os.environ.get("FNRUNNER_AUTH") == "iam" else None

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = READ_TIMEOUT,
        progress: Progress | None = None,
    ) -> Reply:
        """``path`` is encoded already, see :func:`segment`. ``timeout`` is for each wait for bytes.

        Raises ServerUnreachable when nothing answers in full, and ServerRefused for an answer of 400 or above. A server
        that wants a signature is asked again with one, and from then on.
        """
        from http.client import HTTPException

        target = self._target(path, query)
        connection = self._connection(timeout)
        sent = self._prepared(method, target, body, headers)
        try:
            connection.request(method, target, body=_sent(body, progress), headers=sent)
            response = connection.getresponse()
            reply = Reply(response.status, _received(response), response.read())
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        if self._must_sign(reply):
            return self.call(method, path, query=query, body=body, headers=headers, timeout=timeout, progress=progress)
        if reply.status >= 400:
            raise refusal(reply, target)
        return reply

    def _prepared(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> dict[str, str]:
        """The headers that are sent."""
        from fnrunner.cli.caller import at_hand, sign

        given = _headers(body, headers)
        if self._signs is None:
            # whoever has no key says so at the refusal, with the server's own words
            self._signs = at_hand() and self._wants_signatures()
        if not self._signs:
            return given
        host = f"{self._parts.scheme}://{self._parts.netloc.rpartition('@')[2]}"
        return sign(method, host + target, given, body or b"")

    def _wants_signatures(self) -> bool:
        """Whether the server says so. To sign costs more than to ask, and each refusal is in the log of calls."""
        from http.client import HTTPException

        connection = self._connection(_QUESTION_TIMEOUT)
        try:
            connection.request("GET", self._target("/healthz", None), headers=_headers(None, None))
            return connection.getresponse().getheader("x-fnrunner-auth") == "iam"
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _must_sign(self, reply: Reply) -> bool:
        """Whether the request is to be sent again, with a signature."""
        if self._signs or reply.status != 403 or reply.headers.get("x-amzn-errortype") != _WANTS_SIGNATURE:
            return False
        self._signs = True
        return True

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = READ_TIMEOUT,
    ) -> Iterator[tuple[Reply, Iterator[bytes]]]:
        """POST, and read the body while it comes: the answer without its body, and the pieces of that.

        Raises as ``call``, also from the iterator: ServerUnreachable when the body ends too early.
        """
        from http.client import HTTPException

        target = self._target(path, query)
        connection = self._connection(timeout)
        try:
            try:
                response = self._begin(connection, target, body, headers)
                if response.status >= 400:
                    reply = Reply(response.status, _received(response), response.read())
                    if not self._must_sign(reply):
                        raise refusal(reply, target)
                    connection.close()
                    response = self._begin(connection, target, body, headers)
                    if response.status >= 400:
                        raise refusal(Reply(response.status, _received(response), response.read()), target)
            except (OSError, HTTPException) as error:
                raise self._unreachable(error) from error
            yield Reply(response.status, _received(response), b""), self._pieces(response)
        finally:
            connection.close()

    def _begin(
        self, connection: HTTPConnection, target: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> HTTPResponse:
        connection.request("POST", target, body=body, headers=self._prepared("POST", target, body, headers))
        return connection.getresponse()

    def _pieces(self, response: HTTPResponse) -> Iterator[bytes]:
        from http.client import HTTPException

        try:
            while piece := response.read1(CHUNK_BYTES):
                yield piece
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error

    def get(self, path: str, **query: str | int | None) -> Any:
        """The JSON at a path."""
        return self.call("GET", path, query=query).json()

    def send(
        self,
        method: str,
        path: str,
        document: object,
        *,
        query: Mapping[str, str | int | None] | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """The JSON answer to a JSON document."""
        body = json.dumps(document, separators=(",", ":")).encode()
        return self.call(
            method, path, query=query, body=body, headers={"Content-Type": "application/json"}, progress=progress
        ).json()

    def find(self, path: str, **query: str | int | None) -> Any | None:
        """The JSON at a path, or None when the server says there is no such thing (404)."""
        try:
            return self.get(path, **query)
        except ServerRefused as error:
            if error.http_status == 404:
                return None
            raise

    def pages(
        self, path: str, key: str, *, cursor: str = "NextMarker", ask: str = "Marker", **query: Any
    ) -> Iterator[Any]:
        """The items of a paged list, page after page."""
        marker: str | None = None
        while True:
            page = self.get(path, **query, **{ask: marker})
            yield from page[key]
            if not (marker := page.get(cursor)):
                return

    def _target(self, path: str, query: Mapping[str, str | int | None] | None) -> str:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._parts.path.rstrip("/") + path + (f"?{urlencode(given)}" if given else "")

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        return ServerUnreachable(
            f"The server at {self.endpoint_url} does not answer: {_said(error)}",
            "Start it with `fnrunner dev`, or name another with --endpoint-url or FNRUNNER_ENDPOINT_URL.",
        )

    def _connection(self, timeout: timedelta) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        return kind(self._parts.hostname or "", self._parts.port, timeout=timeout.total_seconds())


def segment(text: str) -> str:
    """One segment of a path, encoded as boto3 does.

    >>> segment("f:prod"), segment("a/b")
    ('f%3Aprod', 'a%2Fb')
    """
    return quote(text, safe="")


def function_path(name: str, *rest: str) -> str:
    """The path of a function in the Lambda API.

    >>> function_path("f", "invocations")
    '/2015-03-31/functions/f/invocations'
    """
    return "/".join((FUNCTIONS, segment(name), *rest))


def admin_path(name: str, *rest: str) -> str:
    """The path of a function in fnrunner's own API, which takes names; an ARN is cut to the name in it.

    >>> admin_path("arn:aws:lambda:us-east-1:000000000000:function:f:2", "logs")
    '/fnrunner/v1/functions/f/logs'
    """
    with suppress(InvalidArn):  # the server says what is wrong with it
        name = FunctionRef.parse(name).name
    return "/".join((ADMIN, "functions", segment(name), *map(segment, rest)))


def refusal(reply: Reply, target: str = "") -> ServerRefused:
    """The error that an answer of 400 or above stands for; ``target`` is what was asked, its path and query."""
    told = _told(reply.body)
    code = reply.headers.get("x-amzn-errortype", "").split(":")[0] or str(told.get("code", ""))
    said = told.get("message") or told.get("Message") or reply.body[:200].decode(errors="replace") or "no message"
    message = clean(f"{code or f'HTTP {reply.status}'}: {said}")
    advice = str(told.get("remedy") or _remedy(code, reply, target, str(said), str(told.get("Reason", ""))))
    return ServerRefused(message, advice, code=code, http_status=reply.status)


def _told(body: bytes) -> Mapping[str, Any]:
    """The members of an error: Lambda's are at the top, fnrunner's own under ``error``."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(document, dict):
        return {}
    inner = document.get("error")
    return inner if isinstance(inner, dict) else document


def _remedy(code: str, reply: Reply, target: str, said: str, reason: str) -> str:
    if reply.status == 429:
        return remedy.of_throttle(reason, reply.headers.get("retry-after", "1"))
    if code == "ResourceNotFoundException" or reply.status == 404:
        return remedy.of_missing(target, said)
    if code == "ResourceConflictException":
        return remedy.of_conflict(target, said)
    if said.startswith("The role defined for the function cannot be assumed"):
        return remedy.OF_ROLE
    if reply.status >= 500:
        return "`fnrunner doctor` says what is wrong with the server; its own log has the details."
    return remedy.NOT_CHANGED


def _sent(body: bytes | None, progress: Progress | None) -> bytes | Iterator[bytes] | None:
    if body is None or progress is None:
        return body
    return _reported(body, progress)


def _reported(body: bytes, progress: Progress) -> Iterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
        progress(min(start + CHUNK_BYTES, len(body)), len(body))


def _headers(body: bytes | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    # Content-Length is set by hand: http.client sends an iterator in chunks, which upload limits cannot judge early.
    return {"User-Agent": f"fnrunner/{__version__}", **(headers or {}), "Content-Length": str(len(body or b""))}


def _received(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
