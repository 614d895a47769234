"""What the headers and the path of an invocation ask for, read with as little work as possible.

The usual request is recognised by its headers alone. One that holds anything unusual takes the generic validation, so that
its error has Lambda's words.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope

from fnrunner.api import body as request_body
from fnrunner.api import unsupported
from fnrunner.api.errors import BodyTooLarge, InvalidRequestContent
from fnrunner.api.reference import derive
from fnrunner.api.request import headers_of, parameters, query_of
from fnrunner.api.router import unquote
from fnrunner.api.services import Services
from fnrunner.api.shape import Operation
from fnrunner.api.validation import validate
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef

_WANTED: Mapping[bytes, str] = {
    b"x-amz-invocation-type": "kind",
    b"x-amz-log-type": "log_type",
    b"x-amz-client-context": "client_context",
    b"x-amzn-trace-id": "xray",
    b"traceparent": "traceparent",
    b"tracestate": "tracestate",
    b"x-amz-tenant-id": "unusual",
    b"x-amz-durable-execution-name": "unusual",
}
_LOG_TYPES = frozenset(("None", "Tail"))
MAX_REMEMBERED_REFS = 4096


@dataclass(slots=True)
class Asked:
    """What the headers ask for. Invocation types: Lambda API, Invoke."""

    kind: str = "RequestResponse"
    log_type: str = "None"
    client_context: str = ""
    xray: str = ""
    traceparent: str = ""
    tracestate: str = ""
    unusual: str = ""

    def trace(self) -> dict[str, str]:
        """The W3C headers, as the front takes them."""
        if not self.traceparent:
            return {}
        return {"traceparent": self.traceparent, **({"tracestate": self.tracestate} if self.tracestate else {})}


def read_headers(scope: Scope) -> Asked:
    """The headers that matter; empty ones are as good as absent."""
    asked = Asked()
    for name, value in scope["headers"]:
        if (attribute := _WANTED.get(name)) is not None and value:
            setattr(asked, attribute, value.decode("latin-1"))
    return asked


def segment_of(method: str, raw_path: str, before: str, after: str) -> str | None:
    """The path segment that names the function, still encoded, between two literals; None for any other path.

    It may be empty, and a trailing ``/`` is passed over: what comes of it is validation's to say, as for other operations.
    """
    if method != "POST" or not raw_path.startswith(before):
        return None
    name, _, rest = raw_path[len(before) :].partition("/")
    return name if rest.rstrip("/") == after[1:] else None


class References:
    """Which function a request means. Names that were valid once are remembered."""

    def __init__(
        self, services: Services, operation: Operation, kinds: frozenset[str], supports: frozenset[str]
    ) -> None:
        """``kinds`` are the operation's invocation types, ``supports`` the parameters that take effect."""
        self._services = services
        self._operation = operation
        self._kinds = kinds
        self._supports = supports
        self._known: dict[tuple[str, bytes], FunctionRef] = {}

    def of(self, scope: Scope, segment: str, asked: Asked) -> FunctionRef:
        """Raises what validation raises, and NotSupported for a parameter without effect."""
        key = (segment, scope["query_string"])
        usual = asked.kind in self._kinds and asked.log_type in _LOG_TYPES and not asked.unusual
        if usual and (known := self._known.get(key)) is not None:
            return known
        params = parameters(
            self._operation, {"FunctionName": unquote(segment)}, query_of(scope), headers_of(scope), b""
        )
        validate(self._operation.input, params)
        unsupported.refuse(self._operation.name, params, self._supports, self._services.version)
        if len(self._known) >= MAX_REMEMBERED_REFS:
            self._known.clear()
        ref = self._known[key] = derive(params, self._services.home)
        return ref


async def read_payload(receive: Receive, kind: str) -> bytes:
    """The event. Raises BodyTooLarge in Lambda's words, and ClientGone."""
    try:
        return await request_body.read(receive, limits.SYNC_PAYLOAD_BYTES)
    except request_body.TooLong as error:
        if kind == "Event":
            raise BodyTooLarge(
                f"{error.size} byte payload is too large for the Event invocation type"
                f" (limit {limits.ASYNC_PAYLOAD_BYTES} bytes)"
            ) from error
        raise BodyTooLarge(
            f"Request must be smaller than {limits.SYNC_PAYLOAD_BYTES} bytes for the InvokeFunction operation"
        ) from error


def decode_client_context(header: str) -> str:
    """The JSON text in the header's base64. Raises InvalidRequestContent.

    >>> decode_client_context("eyJjdXN0b20iOnt9fQ==")
    '{"custom":{}}'
    """
    if not header:
        return ""
    if len(header) > limits.CLIENT_CONTEXT_BYTES:
        raise InvalidRequestContent(
            f"Client context must be no more than {limits.CLIENT_CONTEXT_BYTES} bytes when base64-encoded."
        )
    try:
        text = base64.b64decode(header, validate=True).decode("utf-8")
        if not isinstance(request_body.parse(text.encode()), dict):
            raise InvalidRequestContent("Client context must be a valid Base64-encoded JSON object.")
    except (ValueError, InvalidRequestContent) as error:  # also of base64: text that is not ASCII
        raise InvalidRequestContent("Client context must be a valid Base64-encoded JSON object.") from error
    return text
