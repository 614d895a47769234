"""One administration endpoint: reading its request, and answering in the one shape of errors there is.

An error is ``{"error": {"code", "message", "remedy"?}}`` with the HTTP status of its class.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from broker.errors import (
    BrokerError,
    Closed,
    MessageTooLarge,
    QueueNotFound,
    Refused,
    TopologyConflict,
    Unavailable,
    Unroutable,
)
from fnrunner.api import body as request_body
from fnrunner.api.errors import ApiError, ClientGone, InvalidParameter, InvalidRequestContent, describe
from fnrunner.api.services import Services

PREFIX = "/fnrunner/v1"
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_TEXT_CHARS = 1024

_BROKER: Sequence[tuple[type[BrokerError], str, int]] = (
    (QueueNotFound, "ResourceNotFoundException", 404),
    (Unroutable, "ResourceNotFoundException", 404),
    (TopologyConflict, "ResourceConflictException", 409),
    (MessageTooLarge, "RequestEntityTooLargeException", 413),
    (Refused, "QueueFullException", 409),
    (Unavailable, "BrokerUnavailableException", 503),
    (Closed, "BrokerUnavailableException", 503),
)


class BrokerSaid(ApiError):
    """What the broker refused, with the status that it amounts to here."""

    def __init__(self, error: BrokerError) -> None:
        for kind, code, status in _BROKER:
            if isinstance(error, kind):
                self.code, self.status = code, status
                break
        else:
            self.code, self.status = "BrokerException", 500
        super().__init__(str(error))


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a handler: path parameters and query as text, the body under a limit."""

    request: Request
    services: Services

    def path(self, name: str) -> str:
        """Raises InvalidParameter for a text that no name has."""
        return _clean(name, str(self.request.path_params[name]))

    def text(self, name: str, default: str = "") -> str:
        """Raises InvalidParameter for a text that nothing stored has."""
        return _clean(name, self.request.query_params.get(name, default))

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Raises InvalidParameter."""
        text = self.text(name)
        if not text:
            return default
        try:
            value = int(text)
        except ValueError as error:
            raise InvalidParameter(f"{name} takes a whole number") from error
        if not low <= value <= high:
            raise InvalidParameter(f"{name} takes a number from {low} to {high}")
        return value

    async def content(self) -> bytes:
        """The body. Raises BodyTooLarge, ClientGone."""
        return await request_body.read_limited(self.request.receive, MAX_BODY_BYTES, self.request.url.path)

    async def document(self) -> dict[str, Any]:
        """The body as a JSON object. Raises InvalidRequestContent."""
        return request_body.parse_object(await self.content())


def _clean(name: str, text: str) -> str:
    if "\0" in text or len(text) > MAX_TEXT_CHARS:
        raise InvalidParameter(f"{name} takes text of at most {MAX_TEXT_CHARS} characters without NUL")
    return text


Handler = Callable[[Ask], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A row of an admin module's ``ROUTES``. ``path`` is below :data:`PREFIX`."""

    method: str
    path: str
    handle: Handler


def mount(endpoints: Sequence[Endpoint], services: Services) -> list[Route]:
    return [
        Route(PREFIX + endpoint.path, _App(endpoint.handle, services), methods=[endpoint.method])
        for endpoint in endpoints
    ]


class _App:
    """A class, so that Starlette takes it for an ASGI application and gives it the raw ``receive``."""

    def __init__(self, handle: Handler, services: Services) -> None:
        self._handle = handle
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(Ask(Request(scope, receive), self._services))
        except ClientGone:
            return
        except Exception as error:  # the one border of the administration API
            response = failure(error)
        await response(scope, receive, send)

    async def _answer(self, ask: Ask) -> Response:
        try:
            return await self._handle(ask)
        except BrokerError as error:
            raise BrokerSaid(error) from error


def failure(error: Exception) -> Response:
    """An exception as the administration API shows it."""
    request_id = str(uuid.uuid4())
    told = describe(error, request_id)
    remedy = getattr(error, "remedy", "")
    return JSONResponse(
        {
            "error": {
                "code": told.code,
                "message": told.message,
                "request_id": request_id,
                **({"remedy": remedy} if remedy else {}),
            }
        },
        told.status,
        headers={**told.headers, "x-amzn-requestid": request_id, "x-amzn-errortype": told.code},
    )


def answer(document: Any, status: int = 200) -> Response:
    return Response(
        json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace"),
        status,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )


def field(document: dict[str, Any], name: str, kind: type | tuple[type, ...], takes: str, default: Any = None) -> Any:
    """A member of a JSON body. A default of None makes it required. Raises InvalidRequestContent."""
    value = document.get(name, default)
    if value is None or not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidRequestContent(f"{name} takes {takes}")
    return value


def only(document: dict[str, Any], *names: str) -> None:
    """Raises InvalidRequestContent for a member that the endpoint does not know."""
    for name in document:
        if name not in names:
            raise InvalidRequestContent(f"there is no member {name[:64]!r} here; known are {', '.join(names)}")
