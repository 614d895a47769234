"""An answer that arrives in pieces, read from the replies one at a time: whoever does not read holds the function back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from broker.errors import BrokerError
from broker.message import Message
from broker.reply import Reply, ReplyKind
from fnrunner.invoke import errors, request
from fnrunner.model.invocation import error_payload

UNHANDLED = "Unhandled"
LOST = "Sandbox.Failure"
JSON = "application/json"

PLATFORM_CODES = frozenset(
    ("Sandbox.Timedout", "Sandbox.Failure", "Runtime.ExitError", "Runtime.TruncatedResponse", "Runtime.OutOfMemory")
)
"""Failures that a stream names by themselves; what a function raised is Unhandled. Source: Lambda, function errors."""


class StreamedCall:
    """See :class:`fnrunner.api.services.StreamedCall`. ``first`` is the first reply, ``rest`` gives those that follow it."""

    def __init__(self, request_id: str, xray: str, first: Reply, rest: AsyncGenerator[Message]) -> None:
        self.request_id = request_id
        self.xray = xray
        self.executed_version = first.version
        # an answer that was not streamed is one chunk of JSON
        self.content_type = JSON if first.kind is ReplyKind.ANSWER else first.content_type
        self.error_code = ""
        self.error_details = b""
        self.log_tail = b""
        self.complete = False
        self._first: Reply | None = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self.complete:
            data = self._take(await self._next())
            if data:
                return data
        raise StopAsyncIteration

    async def _next(self) -> Reply:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            return await request.first_of(self._rest)
        except (errors.InvokeError, BrokerError) as error:
            # too late for an error of the call: a part of the answer is out already
            message = f"RequestId: {self.request_id} Error: {error}"
            return Reply(error_payload(LOST, message), ReplyKind.ERROR, code=LOST)

    def _take(self, reply: Reply) -> bytes:
        """The bytes in a reply; the last one says how it ended."""
        if reply.kind is ReplyKind.CHUNK:
            return reply.payload
        self.complete = True
        self.log_tail = reply.log_tail
        if reply.kind is ReplyKind.ANSWER:
            return reply.payload
        self.error_code = reply.code if reply.code in PLATFORM_CODES else UNHANDLED
        self.error_details = reply.payload
        return b""
