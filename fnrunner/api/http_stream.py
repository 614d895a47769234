"""Sends an answer in pieces, each when the function has made it.

A client that reads slowly makes ``send`` wait, and with it the function. What fails before the head is out has a status of
its own; what fails later leaves the body without its end: the connection is closed, and the client sees that it is cut.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

from starlette.types import Send

from fnrunner.api.http_answer import raw_headers
from fnrunner.api.services import StreamedCall
from sources.http.prelude import PreludeReader, Started, plain_head, wants_prelude
from sources.http.response import Response, bodiless, has_body

log = logging.getLogger(__name__)

Finish = Callable[[Response], Response]
"""What is done to a head before it goes out, such as adding cross-origin headers."""


class Failed(Exception):
    """The function failed before its answer began."""


class StreamedResponse:
    """One answer. ``begun``: its head is out, so that nothing else can be said any more."""

    def __init__(self, send: Send, method: str, finish: Finish) -> None:
        self.begun = False
        self._send = send
        self._method = method
        self._finish = finish
        self._bodiless = False

    async def send(self, call: StreamedCall) -> None:
        """Head, pieces, end. Raises InvalidAnswer and Failed before anything was sent."""
        pieces = call.__aiter__()
        started = await _started(call, pieces)
        await self._begin(started.head, call)
        if started.body:
            await self._piece(started.body)
        async for chunk in pieces:
            if chunk:
                await self._piece(chunk)
        if call.error_code:
            # without the last chunk of the encoding the body is known to be cut
            log.warning("request %s: the function failed while it answered: %s", call.request_id, call.error_code)
            return
        await self._send({"type": "http.response.body", "body": b""})

    async def _begin(self, head: Response, call: StreamedCall) -> None:
        self._bodiless = not has_body(head.status, self._method)
        head = self._finish(bodiless(head) if self._bodiless and self._method != "HEAD" else head)
        self.begun = True
        headers = raw_headers(head, call.request_id, call.xray)
        await self._send({"type": "http.response.start", "status": head.status, "headers": headers})

    async def _piece(self, chunk: bytes) -> None:
        if not self._bodiless:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _started(call: StreamedCall, pieces: AsyncIterator[bytes]) -> Started:
    """The head, as soon as it is there. Raises InvalidAnswer, Failed."""
    reader = PreludeReader() if wants_prelude(call.content_type) else None
    async for chunk in pieces:
        if reader is None:
            return Started(plain_head(call.content_type), chunk)
        if (started := reader.feed(chunk)) is not None:
            return started
    if call.error_code:
        raise Failed(call.error_code)
    if reader is not None:
        raise reader.end()
    return Started(plain_head(call.content_type), b"")
