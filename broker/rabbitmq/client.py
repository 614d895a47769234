"""The broker port on RabbitMQ: two connections, and who does what on them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import timedelta
from uuid import uuid4

from broker import names
from broker.broker import PUBLISH_TIMEOUT, Offset, OnDelivery, QueueDepth, State, Status
from broker.delays import milliseconds, unknown_delay
from broker.errors import Closed, DelayUnknown, ForeignBroker, Unavailable, Unroutable
from broker.message import Message
from broker.rabbitmq.address import parse
from broker.rabbitmq.connection import Link
from broker.rabbitmq.declaration import Declarations
from broker.rabbitmq.delivery import Delivery, Intake
from broker.rabbitmq.failure import Lost
from broker.rabbitmq.feed import Feed
from broker.rabbitmq.permit import Permits
from broker.rabbitmq.publisher import Publisher
from broker.rabbitmq.pulse import Pulse
from broker.rabbitmq.replying import Replies
from broker.rabbitmq.request import YIELDED_HEADER, Listener, Listeners, Requests
from broker.rabbitmq.stream import StreamSubscription
from broker.rabbitmq.subscription import Subscription
from broker.topology import Binding, QueueKind, Topology, delays_of, foundation

CONNECT_TIMEOUT = timedelta(seconds=30)


class RabbitMQBroker:
    """See :class:`broker.broker.Broker`.

    ``url`` may name several hosts, separated by commas. ``delays`` are the fixed delays there shall be from the start.
    ``name`` is part of the node's name and of the connections' names in RabbitMQ's lists. ``connect_timeout`` bounds the first
    connection; later ones are tried until ``close``.

    A ``guest`` is at a broker that is somebody else's: it consumes, gets, publishes and asks for depths, declares nothing, and
    everything that would need something declared or removed there raises ForeignBroker. It sends no probes for alarms.
    """

    def __init__(
        self,
        url: str,
        *,
        delays: Sequence[timedelta] = (),
        name: str = "",
        connect_timeout: timedelta = CONNECT_TIMEOUT,
        guest: bool = False,
    ) -> None:
        if guest and delays:
            raise ValueError("a guest has no delays: each would be a queue on somebody else's broker")
        self.node = f"{name or socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        address = parse(url)
        self._delays = set(delays)
        self._guest = guest
        self._connect_timeout = connect_timeout
        # A guest makes no queue there, so it cannot ask for one either.
        pulse = None if guest else Pulse
        self._publishing = Link(address, f"{self.node} publishes", pulse)
        self._consuming = Link(address, f"{self.node} consumes", pulse)
        self._declarations = Declarations(self._consuming)
        self._subscriptions: set[Subscription] = set()
        self._listeners = Listeners()
        self._permits: dict[str, Permits] = {}
        self._gets: Intake | None = None
        self._getting = asyncio.Lock()
        self._listening = asyncio.Lock()
        self._hears = False
        self._started = self._closed = False
        self._publisher = Publisher(self._publishing, probes=not guest)
        self._requests = Requests(self.node, self._publisher, self._ready_to_ask)
        self._replies = Replies(self.node, self._publisher, lambda: self._answers.heard)
        returned = Binding(names.RETURNED, names.replies(self.node), arguments={names.NODE_HEADER: self.node})
        control = Binding(names.CONTROL, names.control(self.node))
        self._answers = Feed(self._consuming, names.replies(self.node), returned, self._heard, self._requests.fail_all)
        self._events = Feed(self._consuming, names.control(self.node), control, self._listeners.heard, lambda: None)

    # Life

    async def start(self) -> None:
        try:
            await self._publishing.open(self._connect_timeout)
            await self._consuming.open(self._connect_timeout)
            if not self._guest:
                await self._declarations.declare(foundation(sorted(self._delays)))
            await self._publisher.start()
            if not self._guest:
                await self._answers.start()
        except BaseException:
            await self.close()
            raise
        self._started = True

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Intake first: nothing new comes in while the rest ends.
        await asyncio.gather(*(subscription.close() for subscription in self._subscriptions))
        for permits in self._permits.values():
            await permits.close()
        self._requests.stop()
        await self._replies.stop()
        await self._events.stop()
        await self._answers.stop()
        if self._gets is not None:
            self._gets.close()
        await self._consuming.close()
        await self._publisher.stop()
        await self._publishing.close()

    @property
    def status(self) -> Status:
        reconnects = max(self._publishing.reconnects, self._consuming.reconnects)
        if self._closed:
            return Status(State.CLOSED, "closed", reconnects)
        if trouble := self._trouble():
            return Status(State.DISCONNECTED, trouble, reconnects)
        if blocked := self._publishing.blocked:
            return Status(State.BLOCKED, f"RabbitMQ takes no messages: {blocked}", reconnects)
        return Status(State.CONNECTED, "", reconnects)

    def _trouble(self) -> str:
        parts = (self._publishing.reason, self._consuming.reason, self._publisher.trouble, self._answers.trouble,
                 self._events.trouble, *(s.trouble for s in self._subscriptions))  # fmt: skip
        return next((part for part in parts if part), "")

    def _open(self) -> None:
        if self._closed:
            raise Closed

    def _at_home(self) -> None:
        self._open()
        if self._guest:
            raise ForeignBroker

    # Structure

    async def declare(self, topology: Topology) -> None:
        self._at_home()
        await self._declarations.declare(topology)
        self._delays |= delays_of(topology)

    async def delete(self, topology: Topology) -> None:
        self._at_home()
        self._delays -= delays_of(topology)
        await self._declarations.delete(topology)

    async def depth(self, queue: str) -> QueueDepth:
        self._open()
        return await self._declarations.depth(queue)

    async def depths(self, queues: Iterable[str]) -> dict[str, QueueDepth]:
        self._open()
        return await self._declarations.depths(queues)

    async def purge(self, queue: str) -> int:
        self._at_home()
        return await self._declarations.purge(queue)

    # Publishing

    async def publish(
        self, message: Message, *, exchange: str = "", routing_key: str, timeout: timedelta = PUBLISH_TIMEOUT
    ) -> None:
        self._open()
        if not self._declarations.knows(exchange):
            await self._declarations.require(exchange)
        try:
            await self._publisher.publish(message, exchange, routing_key, timeout)
        except Unroutable:
            if exchange:
                self._declarations.forget(exchange)
            raise

    async def publish_later(self, message: Message, *, queue: str, delay: timedelta) -> None:
        if delay <= timedelta(0):
            await self.publish(message, routing_key=queue)
        elif delay in self._delays:
            await self.publish(message, exchange=names.delay(milliseconds(delay)), routing_key=queue)
        else:
            self._at_home()
            raise DelayUnknown(unknown_delay(delay, self._delays))

    # Consuming

    async def subscribe(
        self, queue: str, on_delivery: OnDelivery, *, prefetch: int, offset: Offset | None = None
    ) -> Subscription:
        self._open()
        parts = (self._consuming, self._declarations, self, self._subscriptions.discard, queue, on_delivery, prefetch)
        is_stream = offset is not None or self._declarations.kind(queue) is QueueKind.STREAM
        subscription = (
            StreamSubscription(*parts, "next" if offset is None else offset) if is_stream else Subscription(*parts)
        )
        await subscription.start()
        self._subscriptions.add(subscription)
        return subscription

    async def get(self, queue: str) -> Delivery | None:
        self._open()
        try:
            return await (await self._get_channel()).get(queue)
        except Lost as lost:
            # A missing queue closes the channel just as a lost connection does: ask which it was.
            await self._declarations.depth(queue)
            raise lost

    async def _get_channel(self) -> Intake:
        async with self._getting:
            if self._gets is None or self._gets.lost.is_set():
                session = await self._consuming.connected_soon()
                self._gets = Intake(session, await session.channel(), self)
            return self._gets

    # Requests and events

    def request(
        self, message: Message, *, queue: str, room: timedelta, timeout: timedelta, window: int = 0
    ) -> AsyncGenerator[Message]:
        return self._requests.ask(message, queue, room, timeout, window)

    def _ready_to_ask(self) -> None:
        self._at_home()
        if not self._answers.heard:
            raise Unavailable("the connection for replies is being set up again. Ask again")

    def _heard(self, message: Message) -> None:
        if YIELDED_HEADER in message.headers:
            self._replies.heard(message)
        else:
            self._requests.arrived(message)

    async def reply(self, to: Message, message: Message, *, last: bool = True) -> None:
        self._at_home()
        await self._replies.send(to, message, last)

    def abandoned(self, to: Message) -> asyncio.Event:
        self._at_home()
        return self._replies.abandoned(to)

    async def broadcast(self, message: Message) -> None:
        self._at_home()
        await self._publisher.publish(message, names.CONTROL, "", PUBLISH_TIMEOUT, mandatory=False)

    async def listen(self, on_message: Callable[[Message], None]) -> Listener:
        self._at_home()
        async with self._listening:
            if not self._hears:
                await self._events.start()
                self._hears = True
        return self._listeners.add(on_message, self._events.queue)

    def permits(self, name: str) -> Permits:
        self._at_home()
        return self._permits.setdefault(name, Permits(name, self._consuming, self._publishing, self))
