"""The embedded broker as the port has it: one client of a hub; siblings are further clients of the same hub."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from broker import names
from broker.broker import PUBLISH_TIMEOUT, Offset, OnDelivery, QueueDepth, State, Status
from broker.delays import milliseconds, unknown_delay
from broker.embedded.asking import Answering, Asker
from broker.embedded.delivery import (
    EmbeddedDelivery,
    EmbeddedSubscription,
    Listening,
    hand_over,
    resolve,
)
from broker.embedded.hub import Hub, epoch_ms
from broker.embedded.permits import ClientPermits, Counter, HeldPermit
from broker.embedded.values import Session
from broker.errors import Closed, DelayUnknown, MessageTooLarge, QueueNotFound, Unavailable
from broker.message import Message
from broker.topology import Topology, delays_of, foundation

MAX_BODY_BYTES = 16 * 1024 * 1024
"""As RabbitMQ's default ``max_message_size``."""

log = logging.getLogger(__name__)


class EmbeddedBroker:
    """See :class:`broker.broker.Broker`. ``directory`` is made when missing and belongs to one process at a time.

    ``delays`` are the fixed delays there shall be from the start. ``max_pages`` bounds the
    journal file, in pages of 8 KiB; without it the disk does.
    """

    def __init__(
        self,
        directory: Path,
        *,
        delays: Sequence[timedelta],
        name: str = "",
        clock: Callable[[], int] = epoch_ms,
        max_pages: int | None = None,
    ) -> None:
        self._join_as(Hub(Path(directory), delays, clock=clock, max_pages=max_pages), name)

    def _join_as(self, hub: Hub, name: str) -> None:
        self.hub = hub
        self._node = f"{name or f'{socket.gethostname()}-{os.getpid()}'}-{secrets.token_hex(4)}"
        self._session = Session(self._node)
        self._asker = Asker(self)
        self._answering = Answering(self)
        self._delays = set(hub.delays)
        self._permits: set[HeldPermit] = set()
        self._listeners: dict[object, Callable[[Message], None]] = {}
        self._started = self._closed = False

    def sibling(self, name: str) -> EmbeddedBroker:
        """Another client of the same engine, with a node name, consumers and permits of its own. Start and close it."""
        client = object.__new__(type(self))
        client._join_as(self.hub, name)
        return client

    @property
    def node(self) -> str:
        return self._node

    @property
    def session(self) -> Session:
        return self._session

    @property
    def status(self) -> Status:
        if self._closed:
            return Status(State.CLOSED, "it has been closed")
        return self.hub.status if self._started else Status(State.DISCONNECTED, "it has not been started")

    async def start(self) -> None:
        """Raises Locked, JournalCorrupt, Unavailable, TopologyConflict. A second start is harmless."""
        if self._closed:
            raise Closed
        if self._started:
            return
        await self.hub.join(self)
        self._started = True
        try:
            await self.declare(foundation(self.hub.delays))
            await self._asker.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """As the port has it; the last client to close writes what is owed and closes the journal."""
        if self._closed or not self._started:
            self._closed = True
            return
        self._closed = True
        self._listeners.clear()
        for permit in tuple(self._permits):
            permit.lose()
        self._permits.clear()
        self._asker.close()
        self._answering.close()
        self.hub.engine.close_session(self._session)
        self.hub.wake()
        await self.hub.leave(self)

    def require_open(self) -> Hub:
        """Raises Closed, and Unavailable before the start."""
        if self._closed:
            raise Closed
        if not self._started:
            raise Unavailable("the broker has not been started")
        return self.hub

    # --- topology

    async def declare(self, topology: Topology) -> None:
        hub = self.require_open()
        future: asyncio.Future[None] = hub.loop.create_future()
        exists = hub.engine.declare(topology, self._session, partial(resolve, future))
        hub.wake()
        if not exists:
            await hub.confirmed(future, PUBLISH_TIMEOUT)
        self._delays |= delays_of(topology)

    async def delete(self, topology: Topology) -> None:
        hub = self.require_open()
        self._delays -= delays_of(topology)
        future: asyncio.Future[None] = hub.loop.create_future()
        hub.engine.delete(topology, partial(resolve, future))
        hub.wake()
        await hub.confirmed(future, PUBLISH_TIMEOUT)

    async def depth(self, queue: str) -> QueueDepth:
        await asyncio.sleep(0)  # whoever asks until the answer changes must let it change
        return self.require_open().engine.depth(queue)

    async def depths(self, queues: Iterable[str]) -> dict[str, QueueDepth]:
        found = {}
        for queue in queues:
            with contextlib.suppress(QueueNotFound):
                found[queue] = await self.depth(queue)
        return found

    async def purge(self, queue: str) -> int:
        hub = self.require_open()
        future: asyncio.Future[None] = hub.loop.create_future()
        count = hub.engine.purge(queue, partial(resolve, future))
        hub.wake()
        await hub.confirmed(future, PUBLISH_TIMEOUT)
        return count

    # --- publishing

    async def publish(
        self, message: Message, *, exchange: str = "", routing_key: str, timeout: timedelta = PUBLISH_TIMEOUT
    ) -> None:
        """Confirmed when the transaction is on the disk; what no queue writes down is confirmed at once."""
        hub = self.require_open()
        self.check_size(message)
        future: asyncio.Future[None] = hub.loop.create_future()
        taken = hub.engine.publish(message, exchange, routing_key, partial(resolve, future))
        hub.wake()
        if taken:
            await asyncio.sleep(0)  # whoever publishes without end must let others run
        else:
            await hub.confirmed(future, timeout)

    async def publish_later(self, message: Message, *, queue: str, delay: timedelta) -> None:
        exchange, routing_key = self.way_back(queue, delay)
        await self.publish(message, exchange=exchange, routing_key=routing_key)

    def way_back(self, queue: str, delay: timedelta) -> tuple[str, str]:
        """Exchange and routing key that reach ``queue`` after ``delay``. Raises DelayUnknown."""
        self.require_open()
        if delay <= timedelta(0):
            return "", queue
        if delay not in self._delays:
            raise DelayUnknown(unknown_delay(delay, self._delays))
        return names.delay(milliseconds(delay)), queue

    def check_size(self, message: Message) -> None:
        """Raises MessageTooLarge."""
        if len(message.body) > MAX_BODY_BYTES:
            raise MessageTooLarge(
                f"the message has {len(message.body)} bytes; the broker takes {MAX_BODY_BYTES}. "
                "Send a reference to the data instead of the data."
            )

    # --- consuming

    async def subscribe(
        self, queue: str, on_delivery: OnDelivery, *, prefetch: int, offset: Offset | None = None
    ) -> EmbeddedSubscription:
        hub = self.require_open()
        deliver = partial(hand_over, self, on_delivery)
        consumer = hub.engine.subscribe(self._session, queue, deliver, prefetch=prefetch, offset=offset)
        hub.wake()
        return EmbeddedSubscription(self, consumer)

    async def get(self, queue: str) -> EmbeddedDelivery | None:
        hub = self.require_open()
        while (held := hub.engine.get(self._session, queue)) is None:
            waits = hub.engine.must_wait(self._session, queue)
            hub.wake()
            if not waits:
                await asyncio.sleep(0)
                return None
            await hub.next_answer()
            self.require_open()
        hub.wake()
        return EmbeddedDelivery(self, held)

    # --- requests, broadcasts, permits

    def request(
        self, message: Message, *, queue: str, room: timedelta, timeout: timedelta, window: int = 0
    ) -> AsyncGenerator[Message]:
        return self._asker.ask(message, queue=queue, room=room, timeout=timeout, window=window)

    async def reply(self, to: Message, message: Message, *, last: bool = True) -> None:
        hub = self.require_open()
        if names.WINDOW_HEADER in to.headers:
            await self._answering.admit(to, last)
        for client in hub.clients.values():
            if to.reply_to == names.replies(client.node):
                client.hear_reply(to.correlation_id, message, last)

    def abandoned(self, to: Message) -> asyncio.Event:
        return self._answering.abandoned(to)

    def hear_reply(self, correlation_id: str | None, message: Message, last: bool) -> None:
        """Called by the client that replies."""
        self._asker.answered(correlation_id, message, last)

    async def broadcast(self, message: Message) -> None:
        hub = self.require_open()
        for client in tuple(hub.clients.values()):
            client.hear_broadcast(message)

    def hear_broadcast(self, message: Message) -> None:
        """Called by the client that broadcasts."""
        for on_message in tuple(self._listeners.values()):
            try:
                on_message(message)
            except Exception:
                log.exception("a listener failed on a broadcast")

    async def listen(self, on_message: Callable[[Message], None]) -> Listening:
        self.require_open()
        token = object()
        self._listeners[token] = on_message
        return Listening(names.control(self._node), lambda: self._listeners.pop(token, None) and None)

    def permits(self, name: str) -> ClientPermits:
        return ClientPermits(partial(self._counter, name), self._permits)

    def _counter(self, name: str) -> Counter:
        return self.require_open().permits.setdefault(name, Counter())
