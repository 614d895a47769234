"""Invoke and InvokeAsync: from the HTTP request straight to the front, with nothing on the way that each call need not pay.

The payload's bytes are never parsed here: the front checks them once and passes them on.
"""

from __future__ import annotations

import base64
import uuid

from starlette.types import Receive, Scope, Send

from fnrunner.api.asked import Asked, References, decode_client_context, read_headers, read_payload, segment_of
from fnrunner.api.errors import BodyTooLarge, ClientGone, describe
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import JSON, RawHeaders, Reply, send, send_failure
from fnrunner.api.services import Services
from fnrunner.api.shape import Operation
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef

_BEFORE, _AFTER = "/2015-03-31/functions/", "/invocations"
_KINDS = frozenset(("RequestResponse", "Event", "DryRun"))
SUPPORTS = supporting("FunctionName", "Qualifier", "InvocationType", "LogType", "ClientContext", "Payload")


class Invoke:
    """``operation`` is Invoke's, for the validation of what is unusual."""

    def __init__(self, services: Services, operation: Operation) -> None:
        self._services = services
        self._references = References(services, operation, _KINDS, SUPPORTS)

    @staticmethod
    def function_of(method: str, raw_path: str) -> str | None:
        """The path segment that names the function, still encoded, when this is an Invoke; else None."""
        return segment_of(method, raw_path, _BEFORE, _AFTER)

    async def __call__(self, scope: Scope, receive: Receive, send_: Send, segment: str) -> None:
        try:
            asked = read_headers(scope)
            ref = self._references.of(scope, segment, asked)
            status, headers, content = await self._run(asked, ref, receive)
        except ClientGone:
            return
        except Exception as error:  # the one border, as for every other operation
            request_id = str(uuid.uuid4())
            await send_failure(send_, describe(error, request_id), request_id)
            return
        await send(send_, status, headers, content)

    async def _run(self, asked: Asked, ref: FunctionRef, receive: Receive) -> tuple[int, RawHeaders, bytes]:
        payload = await read_payload(receive, asked.kind)
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
    asked = read_headers(
        {"headers": [(name.encode(), value.encode("latin-1")) for name, value in call.headers.items()]}
    )
    request_id = await call.services.front.accept(
        ref, call.content, trigger="http", xray=asked.xray, trace=asked.trace()
    )
    return Reply({}, request_id=request_id)


ROUTES = (Route("InvokeAsync", invoke_async, supporting("FunctionName", "InvokeArgs")),)
