"""Deliveries, and the channel they came by: what is out, what is acknowledged, what is lost."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import timedelta
from struct import Struct
from typing import Any, Protocol, cast

from aiormq.abc import AbstractChannel

from broker import names
from broker.errors import AlreadySettled, DeliveryLost
from broker.message import Message
from broker.rabbitmq import wire
from broker.rabbitmq.connection import Session
from broker.rabbitmq.failure import Lost

log = logging.getLogger(__name__)

OFFSET_HEADER = "x-stream-offset"

# What a quorum queue adds to a message that was delivered before: it is not the publisher's, and must not travel on in a copy.
_FAILED = "x-delivery-count"
_ACQUIRED = "x-acquired-count"

_TAG = Struct(">QB")
_UNSETTLED, _SETTLING, _SETTLED = range(3)


class Copier(Protocol):
    """Publishes the copy that a settlement makes before it acknowledges."""

    async def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None: ...

    async def publish_later(self, message: Message, *, queue: str, delay: timedelta) -> None: ...


class Lane:
    """One consumer on the broker's side: how many it may have out, and how many it has."""

    __slots__ = ("dead", "limit", "on_delivery", "out", "queue", "tag")

    def __init__(self, tag: str, queue: str, limit: int, on_delivery: Callable[[Delivery], None]) -> None:
        self.tag = tag
        self.queue = queue
        self.limit = limit
        self.on_delivery = on_delivery
        self.out = 0
        self.dead = False


class Delivery:
    """See :class:`broker.broker.Delivery`."""

    __slots__ = (
        "_intake", "_state", "_tag", "exchange", "failures", "lane", "message", "offset", "redelivered", "routing_key",
    )  # fmt: skip

    def __init__(
        self,
        intake: Intake,
        lane: Lane,
        tag: int,
        message: Message,
        exchange: str,
        routing_key: str,
        redelivered: bool,
        failures: int,
        offset: int | None,
    ) -> None:
        self._intake = intake
        self._tag = tag
        self._state = _UNSETTLED
        self.lane = lane
        self.message = message
        self.exchange = exchange
        self.routing_key = routing_key
        self.redelivered = redelivered
        self.failures = failures
        self.offset = offset

    @property
    def queue(self) -> str:
        return self.lane.queue

    @property
    def settled(self) -> bool:
        return self._state == _SETTLED

    @property
    def valid(self) -> bool:
        """It can still be settled."""
        return self._state != _SETTLED and not self._intake.lost.is_set()

    def _check(self) -> None:
        if self._state != _UNSETTLED:
            raise AlreadySettled
        if self._intake.lost.is_set():
            raise DeliveryLost

    async def ack(self) -> None:
        self.settle_now()

    def settle_now(self) -> None:
        """``ack`` for callers that cannot wait."""
        self._check()
        self._state = _SETTLED
        self._intake.ack(self._tag)

    async def requeue(self) -> None:
        self.give_back()

    def give_back(self) -> None:
        """``requeue`` for callers that cannot wait."""
        self._check()
        self._state = _SETTLED
        self._intake.nack(self._tag, requeue=True)

    async def reject(self) -> None:
        self.reject_now()

    def reject_now(self) -> None:
        """``reject`` for callers that cannot wait."""
        self._check()
        self._state = _SETTLED
        self._intake.nack(self._tag, requeue=False)

    async def retry_later(self, message: Message, delay: timedelta) -> None:
        self._check()
        await self._after(self._intake.copier.publish_later(message, queue=self.queue, delay=delay))

    async def dead_letter(self, message: Message, routing_key: str) -> None:
        await self.forward(message, exchange=names.DEAD, routing_key=routing_key)

    async def forward(self, message: Message, *, exchange: str, routing_key: str) -> None:
        self._check()
        await self._after(self._intake.copier.publish(message, exchange=exchange, routing_key=routing_key))

    async def _after(self, copy: Coroutine[None, None, None]) -> None:
        self._state = _SETTLING
        try:
            await copy
        finally:
            # Publish before ack: a crash between the two duplicates, never loses. A failed copy leaves it unsettled.
            self._state = _UNSETTLED
        await self.ack()


def _take_failures(headers: dict[str, Any], redelivered: bool) -> int:
    """How many earlier deliveries failed: what a quorum queue says, or the little that other queues say.

    >>> headers = {"x-delivery-count": 3, "mine": 1}
    >>> _take_failures(headers, True), headers
    (3, {'mine': 1})
    >>> _take_failures({}, True), _take_failures({"x-delivery-count": 3}, False)
    (1, 0)

    RabbitMQ 4.3 counts what was handed out apart from what failed: given back without failing, it has only the former.

    >>> _take_failures({"x-acquired-count": 2}, True)
    0
    """
    failed = headers.pop(_FAILED, None)
    acquired = headers.pop(_ACQUIRED, None)
    if not redelivered:
        return 0
    if isinstance(failed, int):
        return failed
    return 1 if acquired is None else 0


class Intake:
    """The sink of one channel of deliveries. ``lost`` is set once, when none of them can be settled any more."""

    def __init__(self, session: Session, channel: AbstractChannel, copier: Copier) -> None:
        self.lost = asyncio.Event()
        self.channel = channel
        self.copier = copier
        self.lanes: dict[str, Lane] = {}
        self.out: dict[int, Delivery] = {}
        self.delivered = 0
        self.on_settled: Callable[[Lane], None] = lambda _: None
        self._tap = session.tap
        self._number = channel.number
        self._acked: list[int] = []
        self._asked: deque[tuple[Lane, asyncio.Future[Delivery | None]]] = deque()
        self._ending: asyncio.Task[None] | None = None
        self._tap.sinks[self._number] = self
        channel.closing.add_done_callback(self._on_closing)
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)

    # From the broker

    def content(self, method: int, arguments: bytes, head: bytes, body: bytes) -> None:
        if self.lost.is_set():
            return
        if method == wire.DELIVER:
            consumer, at = wire.text(arguments, 0)
            tag, redelivered = _TAG.unpack_from(arguments, at)
            lane = self.lanes.get(consumer)
        elif method == wire.GET_OK and self._asked:
            (tag, redelivered), at = _TAG.unpack_from(arguments), 0
            lane, answer = self._asked.popleft()
        else:
            return
        if lane is None:
            # The consumer was cancelled before this arrived: whoever has room should get it.
            self._tap.send(wire.nack(self._number, tag, True))
            return
        exchange, at = wire.text(arguments, at + 9)
        routing_key, _ = wire.text(arguments, at)
        try:
            message = wire.message(head, body)
        except wire.Malformed:
            log.exception("a message on %s cannot be read and is dead-lettered", lane.queue)
            self._tap.send(wire.nack(self._number, tag, False))
            message = None
        if method == wire.DELIVER:
            if message is not None:
                self._deliver(lane, tag, message, exchange, routing_key, bool(redelivered))
            return
        delivery = None if message is None else self._make(lane, tag, message, exchange, routing_key, bool(redelivered))
        if not answer.done():
            answer.set_result(delivery)
        elif delivery is not None:
            delivery.give_back()

    def settled(self, method: int, arguments: bytes) -> None:
        if method == wire.GET_EMPTY and self._asked:
            _, answer = self._asked.popleft()
            if not answer.done():
                answer.set_result(None)

    def _make(self, lane: Lane, tag: int, message: Message, exchange: str, key: str, redelivered: bool) -> Delivery:
        failures = _take_failures(cast(dict[str, Any], message.headers), redelivered)
        offset = message.headers.pop(OFFSET_HEADER, None)  # type: ignore[attr-defined]
        self.delivered += 1
        delivery = Delivery(self, lane, tag, message, exchange, key, redelivered, failures, offset)
        self.out[tag] = delivery
        lane.out += 1
        return delivery

    def _deliver(self, lane: Lane, tag: int, message: Message, exchange: str, key: str, redelivered: bool) -> None:
        delivery = self._make(lane, tag, message, exchange, key, redelivered)
        try:
            lane.on_delivery(delivery)
        except Exception:
            log.exception("the consumer of %s failed on a delivery, which is given back", lane.queue)
            if delivery.valid:
                delivery.give_back()

    def closed(self, reason: str) -> None:
        if reason and not reason.startswith("NOT_FOUND"):
            log.warning("RabbitMQ closes a channel of deliveries: %s", reason)
        self.close()

    def _on_closing(self, _: asyncio.Future[None]) -> None:
        self.close()

    async def _on_cancel(self, _: object) -> None:
        # The queue was deleted, its node died, or a delivery took too long: begin again on a fresh channel.
        self.close()
        self._ending = asyncio.create_task(self.shut(), name="rabbitmq end of a channel")

    async def shut(self) -> None:
        """Close the channel as well; what is out is given back by the broker."""
        self.close()
        if not self.channel.is_closed:
            # What is still on its way must not reach aiormq, which would stop reading the connection at the tenth frame.
            self._tap.sinks[self._number] = self
        try:
            await self.channel.close()
        except Exception:
            log.debug("a channel did not close in an orderly way", exc_info=True)
        finally:
            self._tap.detach(self._number, self)

    def close(self) -> None:
        """Nothing that is out can be settled from now on."""
        if self._acked:
            self._tap.flush()
        self.lost.set()
        self._tap.detach(self._number, self)
        while self._asked:
            _, answer = self._asked.popleft()
            if not answer.done():
                answer.set_exception(Lost())

    # To the broker

    def ack(self, tag: int) -> None:
        self._acked.append(tag)
        self._tap.stamp(self)
        self._gone(tag)

    def nack(self, tag: int, *, requeue: bool) -> None:
        self._tap.send(wire.nack(self._number, tag, requeue))
        self._gone(tag)

    def _gone(self, tag: int) -> None:
        lane = self.out.pop(tag).lane
        lane.out -= 1
        self.on_settled(lane)

    def frames(self) -> bytes:
        """One acknowledgement for all below the oldest delivery that is still out, and one for each of the others."""
        acked, self._acked = self._acked, []
        if len(acked) == 1:
            return wire.ack(self._number, acked[0], False)
        oldest = next(iter(self.out), None)
        below = [tag for tag in acked if oldest is None or tag < oldest]
        parts = [wire.ack(self._number, max(below), True)] if below else []
        parts += [wire.ack(self._number, tag, False) for tag in acked if oldest is not None and tag > oldest]
        return b"".join(parts)

    async def get(self, queue: str) -> Delivery | None:
        """Raises Lost; a queue that is not there closes the channel."""
        if self.lost.is_set():
            raise Lost
        answer: asyncio.Future[Delivery | None] = asyncio.get_running_loop().create_future()
        self._asked.append((Lane("", queue, 0, lambda _: None), answer))
        self._tap.send(wire.get(self._number, queue))
        try:
            return await answer
        except asyncio.CancelledError:
            # it may have come in the moment of giving up
            came = answer.result() if answer.done() and not answer.cancelled() and answer.exception() is None else None
            if came is not None and came.valid:
                came.give_back()
            raise
