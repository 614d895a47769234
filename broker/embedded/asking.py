"""Requests and their replies: what one client has asked and not yet heard the end of."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from broker import names
from broker.embedded.death import first_reason
from broker.embedded.values import Held
from broker.errors import AskerGone, BrokerError, Closed, NoReply, Refused, RequestReturned, Unroutable
from broker.message import Message
from broker.topology import Binding, Queue, QueueKind, Topology
from broker.window import Window, step

if TYPE_CHECKING:
    from broker.embedded.client import EmbeddedBroker

Reply = tuple[Message, bool] | BrokerError
RETURNED_PREFETCH = 1_000


class Asker:
    """Sends requests into the engine, hears replies from clients directly and returned requests from its own queue."""

    def __init__(self, client: EmbeddedBroker) -> None:
        self._client = client
        self._replies: dict[str, asyncio.Queue[Reply]] = {}

    async def start(self) -> None:
        """Have requests that nobody took brought back to this node."""
        node, hub = self._client.node, self._client.hub
        queue = names.replies(node)
        mine = {"x-match": "all-with-x", names.NODE_HEADER: node}
        await self._client.declare(
            Topology(
                queues=(Queue(queue, QueueKind.CLASSIC, exclusive=True),),
                bindings=(Binding(names.RETURNED, queue, arguments=mine),),
            )
        )
        hub.engine.subscribe(self._client.session, queue, self._returned, prefetch=RETURNED_PREFETCH)

    def close(self) -> None:
        """Whoever waits for a reply gets Closed, and whoever replies in a window is told to stop."""
        for correlation_id, replies in self._replies.items():
            replies.put_nowait(Closed())
            self._let_go(correlation_id)

    def _let_go(self, correlation_id: str) -> None:
        if (window := self._client.hub.windows.pop(correlation_id, None)) is not None:
            window.abandon()

    def answered(self, correlation_id: str | None, message: Message, last: bool) -> None:
        """A reply has come; when nobody waits for it any more it is dropped."""
        if correlation_id is not None and (replies := self._replies.get(correlation_id)) is not None:
            replies.put_nowait((message, last))

    def _returned(self, held: Held) -> None:
        hub, message = self._client.hub, held.item.message
        hub.engine.ack(held)
        hub.wake()
        if (replies := self._replies.get(message.correlation_id or "")) is not None:
            replies.put_nowait(RequestReturned(first_reason(message.headers) or "rejected"))

    async def ask(
        self, message: Message, *, queue: str, room: timedelta, timeout: timedelta, window: int
    ) -> AsyncGenerator[Message]:
        """See :meth:`broker.broker.Broker.request`."""
        correlation_id = uuid.uuid4().hex
        headers = {**message.headers, names.NODE_HEADER: self._client.node}
        opened: Window | None = None
        if window > 0:
            headers[names.WINDOW_HEADER] = window
            opened = self._client.hub.windows[correlation_id] = Window(window)
        request = replace(
            message,
            persistent=False,
            correlation_id=correlation_id,
            reply_to=names.replies(self._client.node),
            expiration=room,
            headers=headers,
        )
        replies: asyncio.Queue[Reply] = asyncio.Queue()
        self._replies[correlation_id] = replies
        try:
            await self._send(request, queue)
            last, yielded = False, 0
            while not last:
                reply, last = await self._next(replies, room + timeout)
                room = timedelta(0)  # only the first reply had to wait for a consumer
                yielded += 1
                if last:
                    self._client.hub.windows.pop(correlation_id, None)
                elif opened is not None and yielded % step(window) == 0:
                    opened.allow(yielded)
                yield reply
        finally:
            del self._replies[correlation_id]
            self._let_go(correlation_id)

    async def _send(self, request: Message, queue: str) -> None:
        try:
            await self._client.publish(request, routing_key=queue)
        except Unroutable as error:
            raise RequestReturned("unroutable") from error
        except Refused as error:
            raise RequestReturned("rejected") from error

    async def _next(self, replies: asyncio.Queue[Reply], timeout: timedelta) -> tuple[Message, bool]:
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                reply = await replies.get()
        except TimeoutError as error:
            raise NoReply(
                f"no reply came within {timeout.total_seconds():g} s. It may have been carried out."
            ) from error
        if isinstance(reply, BrokerError):
            raise reply
        return reply


class Answering:
    """The replies of one client to requests with a window: they wait for room in it."""

    def __init__(self, client: EmbeddedBroker) -> None:
        self._client = client
        self._waiting: dict[Window, int] = {}

    def close(self) -> None:
        """Whoever waits for room gets Closed."""
        for window in self._waiting:
            window.fail(Closed())

    def abandoned(self, to: Message) -> asyncio.Event:
        """See :meth:`broker.broker.Broker.abandoned`: the asker's own window, or what a window that has gone would say."""
        if (window := self._window(to)) is not None:
            return window.abandoned
        event = asyncio.Event()
        if names.WINDOW_HEADER in to.headers:
            event.set()
        return event

    async def admit(self, to: Message, last: bool) -> None:
        """Wait for room for one more reply; the last needs none. Raises AskerGone, Closed."""
        window = self._window(to)
        if window is None or window.abandoned.is_set():
            raise AskerGone
        if not last:
            await self._room(window)
        window.sent += 1

    def _window(self, to: Message) -> Window | None:
        return self._client.hub.windows.get(to.correlation_id or "")

    async def _room(self, window: Window) -> None:
        self._waiting[window] = self._waiting.get(window, 0) + 1
        try:
            await window.room()
        finally:
            if self._waiting[window] == 1:
                del self._waiting[window]
            else:
                self._waiting[window] -= 1
