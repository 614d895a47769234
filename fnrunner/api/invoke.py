"""Invoke and InvokeAsync: from the HTTP request straight to the front, with nothing on the way that each call need not pay.

The usual request is recognised by its headers alone. One that holds anything unusual takes the generic validation, so that
its error has Lambda's words. The payload's bytes are never parsed here: the front checks them once and passes them on.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from fnrunner.api import body as request_body
from fnrunner.api import unsupported
from fnrunner.api.errors import BodyTooLarge, ClientGone, InvalidRequestContent, describe
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, headers_of, parameters, query_of, supporting
from fnrunner.api.response import JSON, RawHeaders, Reply, send, send_failure
from fnrunner.api.router import unquote
from fnrunner.api.services import Services
from fnrunner.api.shape import Operation
from fnrunner.api.validation import validate
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef

_BEFORE, _AFTER = "/2015-03-31/functions/", "/invocations"
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
_KINDS = frozenset(("RequestResponse", "Event", "DryRun"))
_LOG_TYPES = frozenset(("None", "Tail"))
_SUPPORTS = supporting("FunctionName", "Qualifier", "InvocationType", "LogType", "ClientContext", "Payload")
MAX_REMEMBERED_REFS = 4096


@dataclass(slots=True)
class _Asked:
    """What the headers ask for. Invocation types: Lambda API, Invoke."""

    kind: str = "RequestResponse"
    log_type: str = "None"
    client_context: str = ""
    xray: str = ""
    traceparent: str = ""
    tracestate: str = ""
    unusual: str = ""

    def trace(self) -> dict[str, str]:
        if not self.traceparent:
            return {}
        return {"traceparent": self.traceparent, **({"tracestate": self.tracestate} if self.tracestate else {})}


class Invoke:
    """``operation`` is Invoke's, for the validation of what is unusual."""

    def __init__(self, services: Services, operation: Operation) -> None:
        self._services = services
        self._operation = operation
        self._refs: dict[tuple[str, bytes], FunctionRef] = {}

    @staticmethod
    def function_of(method: str, raw_path: str) -> str | None:
        """The path segment that names the function, still encoded, when this is an Invoke; else None."""
        if method != "POST" or not raw_path.endswith(_AFTER) or not raw_path.startswith(_BEFORE):
            return None
        segment = raw_path[len(_BEFORE) : -len(_AFTER)]
        return segment if segment and "/" not in segment else None

    async def __call__(self, scope: Scope, receive: Receive, send_: Send, segment: str) -> None:
        try:
            asked = _read_headers(scope)
            ref = self._reference(scope, segment, asked)
            status, headers, content = await self._run(asked, ref, receive)
        except ClientGone:
            return
        except Exception as error:  # the one border, as for every other operation
            request_id = str(uuid.uuid4())
            await send_failure(send_, describe(error, request_id), request_id)
            return
        await send(send_, status, headers, content)

    def _reference(self, scope: Scope, segment: str, asked: _Asked) -> FunctionRef:
        key = (segment, scope["query_string"])
        usual = asked.kind in _KINDS and asked.log_type in _LOG_TYPES and not asked.unusual
        if usual and (known := self._refs.get(key)) is not None:
            return known
        params = parameters(
            self._operation, {"FunctionName": unquote(segment)}, query_of(scope), headers_of(scope), b""
        )
        validate(self._operation.input, params)
        unsupported.refuse("Invoke", params, _SUPPORTS, self._services.version)
        if len(self._refs) >= MAX_REMEMBERED_REFS:
            self._refs.clear()
        ref = self._refs[key] = derive(params, self._services.home)
        return ref

    async def _run(self, asked: _Asked, ref: FunctionRef, receive: Receive) -> tuple[int, RawHeaders, bytes]:
        payload = await _read_payload(receive, asked.kind)
        front = self._services.front
        if asked.kind == "Event":
            request_id = await front.accept(ref, payload, trigger="http", xray=asked.xray, trace=asked.trace())
            return 202, _headers(request_id, 0), b""
        if asked.kind == "DryRun":
            await front.check(ref)
            return 204, [(b"x-amzn-requestid", str(uuid.uuid4()).encode())], b""
        result = await front.call(
            ref,
            payload,
            client_context=decode_client_context(asked.client_context),
            log_tail=asked.log_type == "Tail",
            xray=asked.xray,
            trace=asked.trace(),
        )
        headers = _headers(result.request_id, len(result.payload))
        headers.append((b"x-amz-executed-version", result.executed_version.encode()))
        headers.append((b"x-amzn-remapped-content-length", b"0"))
        if result.xray:
            headers.append((b"x-amzn-trace-id", result.xray.encode("latin-1", "replace")))
        if result.function_error:
            headers.append((b"x-amz-function-error", result.function_error.encode()))
        if asked.log_type == "Tail":
            headers.append((b"x-amz-log-result", base64.b64encode(result.log_tail)))
        return 200, headers, result.payload


def _read_headers(scope: Scope) -> _Asked:
    asked = _Asked()
    for name, value in scope["headers"]:
        if (attribute := _WANTED.get(name)) is not None and value:
            setattr(asked, attribute, value.decode("latin-1"))
    return asked


async def _read_payload(receive: Receive, kind: str) -> bytes:
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
    except (binascii.Error, UnicodeDecodeError, InvalidRequestContent) as error:
        raise InvalidRequestContent("Client context must be a valid Base64-encoded JSON object.") from error
    return text


def _headers(request_id: str, length: int) -> RawHeaders:
    return [
        (b"content-type", JSON),
        (b"content-length", b"%d" % length),
        (b"x-amzn-requestid", request_id.encode()),
    ]


async def invoke_async(call: Call) -> Reply:
    """InvokeAsync, deprecated: an Event whose payload is the body; answered after the broker has it."""
    if len(call.content) > limits.ASYNC_PAYLOAD_BYTES:
        raise BodyTooLarge(
            f"{len(call.content)} byte payload is too large for the Event invocation type"
            f" (limit {limits.ASYNC_PAYLOAD_BYTES} bytes)"
        )
    ref = derive(call.params, call.services.home)
    request_id = await call.services.front.accept(ref, call.content, trigger="http")
    return Reply({}, request_id=request_id)


ROUTES = (Route("InvokeAsync", invoke_async, supporting("FunctionName", "InvokeArgs")),)
