"""InvokeWithResponseStream: the answer as an event stream, each piece when the function has made it.

Every piece is sent before the next one is asked for. A client that reads slowly makes ``send`` wait, and with it the front,
the worker and the function; one that closes the connection ends them all.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

from fnrunner.api import event_stream
from fnrunner.api.asked import Asked, References, decode_client_context, read_headers, read_payload, segment_of
from fnrunner.api.errors import ClientGone, describe
from fnrunner.api.request import supporting
from fnrunner.api.response import RawHeaders, send, send_failure
from fnrunner.api.services import Services, StreamedCall
from fnrunner.api.shape import Operation
from fnrunner.model.arn import FunctionRef

log = logging.getLogger(__name__)

_BEFORE, _AFTER = "/2021-11-15/functions/", "/response-streaming-invocations"
_KINDS = frozenset(("RequestResponse", "DryRun"))
SUPPORTS = supporting("FunctionName", "Qualifier", "InvocationType", "LogType", "ClientContext", "Payload")


class InvokeWithResponseStream:
    """``operation`` is InvokeWithResponseStream's, for the validation of what is unusual."""

    def __init__(self, services: Services, operation: Operation) -> None:
        self._services = services
        self._references = References(services, operation, _KINDS, SUPPORTS)

    @staticmethod
    def function_of(method: str, raw_path: str) -> str | None:
        """The path segment that names the function, still encoded, when this is the operation; else None."""
        return segment_of(method, raw_path, _BEFORE, _AFTER)

    async def __call__(self, scope: Scope, receive: Receive, send_: Send, segment: str) -> None:
        try:
            asked = read_headers(scope)
            ref = self._references.of(scope, segment, asked)
            payload = await read_payload(receive, asked.kind)
            if asked.kind == "DryRun":
                await self._services.front.check(ref)
                await send(send_, 204, [(b"x-amzn-requestid", str(uuid.uuid4()).encode())], b"")
                return
        except ClientGone:
            return
        except Exception as error:  # the one border, as for every other operation
            await _fail(send_, error)
            return
        await while_connected(receive, self._stream(asked, ref, payload, send_))

    async def _stream(self, asked: Asked, ref: FunctionRef, payload: bytes, send_: Send) -> None:
        response = Response(send_, log_tail=asked.log_type == "Tail")
        try:
            async with self._services.front.stream(
                ref,
                payload,
                client_context=decode_client_context(asked.client_context),
                log_tail=asked.log_type == "Tail",
                xray=asked.xray,
                trace=asked.trace(),
            ) as answer:
                await response.send(answer)
        except Exception as error:
            if response.begun:
                # the client sees a body that does not end: nothing else can be said any more
                raise
            await _fail(send_, error)


class Response:
    """One answer as an HTTP response. ``begun``: the status is out, so an error has no status of its own any more."""

    def __init__(self, send_: Send, *, log_tail: bool) -> None:
        self.begun = False
        self._send = send_
        self._log_tail = log_tail

    async def send(self, answer: StreamedCall) -> None:
        """Head, pieces, end."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": _headers(answer)})
        async for chunk in answer:
            await self._body(event_stream.payload_chunk(chunk), more=True)
        tail = answer.log_tail if self._log_tail else None
        await self._body(event_stream.invoke_complete(answer.error_code, answer.error_details, tail), more=False)

    async def _body(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


def _headers(answer: StreamedCall) -> RawHeaders:
    headers = [
        (b"content-type", event_stream.CONTENT_TYPE),
        (b"x-amzn-requestid", answer.request_id.encode()),
        (b"x-amz-executed-version", answer.executed_version.encode()),
    ]
    if answer.xray:
        headers.append((b"x-amzn-trace-id", answer.xray.encode("latin-1", "replace")))
    return headers


async def _fail(send_: Send, error: Exception) -> None:
    request_id = str(uuid.uuid4())
    await send_failure(send_, describe(error, request_id), request_id)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, but end it, and wait for its end, when the client closes the connection. The request's body is read.

    Raises what the work raises.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        finished = working.done()
        await _end(working, leaving)
    if finished:
        working.result()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("what was ended, or has ended, failed", exc_info=error)
