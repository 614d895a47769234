"""Requests and their replies: what one client has asked and not yet heard the end of."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from broker import names
from broker.embedded.death import first_reason
from broker.embedded.values import Held
from broker.errors import BrokerError, Closed, NoReply, Refused, RequestReturned, Unroutable
from broker.message import Message
from broker.topology import Binding, Queue, QueueKind, Topology

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
        """Whoever waits for a reply gets Closed."""
        for replies in self._replies.values():
            replies.put_nowait(Closed())

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

    async def ask(self, message: Message, *, queue: str, room: timedelta, timeout: timedelta) -> AsyncIterator[Message]:
        """See :meth:`broker.broker.Broker.request`."""
        correlation_id = uuid.uuid4().hex
        request = replace(
            message,
            persistent=False,
            correlation_id=correlation_id,
            reply_to=names.replies(self._client.node),
            expiration=room,
            headers={**message.headers, names.NODE_HEADER: self._client.node},
        )
        replies: asyncio.Queue[Reply] = asyncio.Queue()
        self._replies[correlation_id] = replies
        try:
            await self._send(request, queue)
            last = False
            while not last:
                reply, last = await self._next(replies, room + timeout)
                room = timedelta(0)  # only the first reply had to wait for a consumer
                yield reply
        finally:
            del self._replies[correlation_id]

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
