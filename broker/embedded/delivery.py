"""One client's deliveries and subscriptions: the port's view of what the engine holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from broker import names
from broker.broker import PUBLISH_TIMEOUT, OnDelivery
from broker.embedded.values import Consumer, Held, HeldState, Record
from broker.message import Message
from broker.topology import QueueKind

if TYPE_CHECKING:
    from broker.embedded.client import EmbeddedBroker

log = logging.getLogger(__name__)


def resolve(future: asyncio.Future[None], error: BaseException | None) -> None:
    """Tell whoever waits; nobody may any more."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


class EmbeddedDelivery:
    """See :class:`broker.broker.Delivery`. ``ack`` is written with the next group commit and does not wait for it."""

    __slots__ = ("_client", "_held")

    def __init__(self, client: EmbeddedBroker, held: Held) -> None:
        self._client, self._held = client, held

    @property
    def message(self) -> Message:
        return self._held.item.message

    @property
    def queue(self) -> str:
        return self._held.source.spec.name

    @property
    def exchange(self) -> str:
        return self._held.item.exchange

    @property
    def routing_key(self) -> str:
        return self._held.item.routing_key

    @property
    def redelivered(self) -> bool:
        return self._held.redelivered

    @property
    def failures(self) -> int:
        if self._held.source.spec.kind is QueueKind.QUORUM:
            return self._held.count
        return int(self._held.redelivered)

    @property
    def offset(self) -> int | None:
        item = self._held.item
        return item.offset if isinstance(item, Record) else None

    @property
    def settled(self) -> bool:
        return self._held.state is HeldState.SETTLED

    async def ack(self) -> None:
        hub = self._client.hub
        hub.engine.ack(self._held)
        hub.wake()

    async def requeue(self) -> None:
        hub = self._client.hub
        hub.engine.requeue(self._held)
        hub.wake()

    async def reject(self) -> None:
        hub = self._client.hub
        hub.engine.reject(self._held)
        hub.wake()

    async def retry_later(self, message: Message, delay: timedelta) -> None:
        exchange, routing_key = self._client.way_back(self.queue, delay)
        await self.forward(message, exchange=exchange, routing_key=routing_key)

    async def dead_letter(self, message: Message, routing_key: str) -> None:
        await self.forward(message, exchange=names.DEAD, routing_key=routing_key)

    async def forward(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """The copy is written and the original deleted in one transaction: a crash leaves exactly one of them."""
        hub = self._client.hub
        self._client.check_size(message)
        future: asyncio.Future[None] = hub.loop.create_future()
        now = hub.engine.replace(self._held, message, exchange, routing_key, partial(resolve, future))
        hub.wake()
        if not now:
            await hub.confirmed(future, PUBLISH_TIMEOUT)


class EmbeddedSubscription:
    """See :class:`broker.broker.Subscription`."""

    def __init__(self, client: EmbeddedBroker, consumer: Consumer) -> None:
        self._client, self._consumer = client, consumer

    @property
    def queue(self) -> str:
        return self._consumer.queue

    @property
    def prefetch(self) -> int:
        return self._consumer.prefetch

    @property
    def lost(self) -> str:
        return self._client.hub.engine.missing(self._consumer)

    async def set_prefetch(self, prefetch: int) -> None:
        if prefetch < 0:
            raise ValueError("prefetch cannot be negative")
        hub = self._client.hub
        hub.engine.set_prefetch(self._consumer, prefetch)
        hub.wake()

    async def cancel(self) -> None:
        self._client.hub.engine.cancel(self._consumer)


class Listening:
    """The subscription to broadcasts; prefetch means nothing to it, since broadcasts are not settled."""

    def __init__(self, queue: str, forget: Callable[[], None]) -> None:
        self.queue, self.prefetch, self.lost, self._forget = queue, 0, "", forget

    async def set_prefetch(self, prefetch: int) -> None:
        self.prefetch = prefetch

    async def cancel(self) -> None:
        self._forget()


def hand_over(client: EmbeddedBroker, on_delivery: OnDelivery, held: Held) -> None:
    """Call the consumer; what it raises is logged and the delivery goes back, unless it was settled."""
    try:
        on_delivery(EmbeddedDelivery(client, held))
    except Exception:
        log.exception("a consumer of %s failed: the delivery is requeued", held.source.spec.name)
        if held.state is HeldState.OUT:
            client.hub.engine.requeue(held)
            client.hub.wake()
