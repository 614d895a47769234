"""Calls a function for an HTTP request and sends what it answers, buffered or streamed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from starlette.types import Receive, Send

from fnrunner.api.http_answer import Dialect, send_response
from fnrunner.api.http_stream import Failed, Finish, StreamedResponse
from fnrunner.api.response_stream import while_connected
from fnrunner.api.services import Front
from fnrunner.model import lineage
from fnrunner.model.arn import FunctionRef
from fnrunner.telemetry import context as trace_context
from sources.http import event_v1, response_v1
from sources.http import response as mapping
from sources.http.event import Endpoint, encode, event
from sources.http.request import Request

log = logging.getLogger(__name__)

LARGE_BYTES = 256 * 1024
"""A larger answer is read in a thread: it may take a second, and everybody else would wait."""


class Payload(Enum):
    """The format of the event and of the answer. A REST API's events differ from those of an HTTP API with format 1.0."""

    V2 = "2.0"
    V1 = "1.0"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request that a function is to answer. ``source`` names what led to it, for traces and ``fnrunner why``.

    ``finish`` has the last word on every head that goes out. ``timeout`` is the endpoint's own; None: the function's.
    """

    request: Request
    endpoint: Endpoint
    ref: FunctionRef
    source: str
    request_id: str
    now: datetime
    dialect: Dialect
    finish: Finish
    timeout: timedelta | None = None
    form: Payload = Payload.V2

    def payload(self) -> bytes:
        common: dict[str, Any] = {"request_id": self.request_id, "now": self.now}
        if self.form is Payload.V2:
            return encode(event(self.request, self.endpoint, **common))
        return encode(event_v1.event(self.request, self.endpoint, **common, rest=self.form is Payload.REST))

    def trace(self) -> Mapping[str, str]:
        """W3C's headers, where the client sent them."""
        if not (parent := self.request.header("traceparent")):
            return {}
        state = self.request.header("tracestate")
        return {"traceparent": parent, **({"tracestate": state} if state else {})}


def trace_id(request: Request) -> str:
    """The value of ``X-Amzn-Trace-Id``: the client's, where it has a form that can be followed, or a new one.

    Without a lineage: whoever may call from outside could say that a function has been called too often.
    """
    given = request.header("x-amzn-trace-id")
    if given and trace_context.from_xray(given) is not None:
        return lineage.joined(given, "")
    context = trace_context.from_traceparent(request.header("traceparent")) or trace_context.new()
    return trace_context.to_xray(context)


async def buffered(front: Front, call: HttpCall, send: Send) -> None:
    """Wait for the whole answer and send it. Every failure becomes a response."""
    xray, request_id = "", call.request_id
    try:
        async with asyncio.timeout(call.timeout.total_seconds() if call.timeout else None):
            result = await front.call(
                call.ref, call.payload(), xray=call.endpoint.trace_id, trace=call.trace(),
                source=call.source, trigger="http",
            )  # fmt: skip
        xray, request_id = result.xray, result.request_id
        if result.function_error:
            raise Failed(result.function_error)
        response = await _read(result.payload, call.form)
    except Exception as error:  # the one border: clients are told the little that is theirs to know
        response = refusal(call, error, request_id)
    await send_response(send, call.finish(response), call.request.method, request_id, xray)


async def _read(payload: bytes, form: Payload) -> mapping.Response:
    """What the answer means. Raises InvalidAnswer."""
    of_answer = mapping.of_answer if form is Payload.V2 else response_v1.of_answer
    if len(payload) <= LARGE_BYTES:
        return of_answer(payload)
    return await asyncio.to_thread(of_answer, payload)


async def streamed(front: Front, call: HttpCall, receive: Receive, send: Send) -> None:
    """Send the answer as it is made; the work ends when the client leaves. What fails in mid-stream cuts the body."""
    await while_connected(receive, _stream(front, call, send))


async def _stream(front: Front, call: HttpCall, send: Send) -> None:
    out = StreamedResponse(send, call.request.method, call.finish)
    xray, request_id = "", call.request_id
    try:
        async with front.stream(
            call.ref, call.payload(), xray=call.endpoint.trace_id, trace=call.trace(),
            source=call.source, trigger="http",
        ) as answer:  # fmt: skip
            xray, request_id = answer.xray, answer.request_id
            await out.send(answer)
    except Exception as error:
        if out.begun:
            log.warning("%s, request %s: the answer is cut: %s", call.source, request_id, error, exc_info=error)
            return
        response = refusal(call, error, request_id)
        await send_response(send, call.finish(response), call.request.method, request_id, xray)


def refusal(call: HttpCall, error: Exception, request_id: str) -> mapping.Response:
    """What the client is told of a failure; the log has the reason, with the traceback of what nobody expected."""
    expected = isinstance(error, Failed | mapping.InvalidAnswer | TimeoutError) or hasattr(error, "code")
    log.log(
        logging.INFO if expected else logging.ERROR,
        "%s, request %s: %s", call.source, request_id, error or type(error).__name__,
        exc_info=None if expected else error,
    )  # fmt: skip
    return call.dialect.failure(error)
