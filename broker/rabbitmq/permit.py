"""Permits: messages in a classic queue, held by not acknowledging them.

How the total stays true
    The queue ``permits(NAME)`` holds one persistent message for each permit. Taking one is ``basic.get``; waiting for one
    is a consumer with prefetch 1 that ends with its delivery; giving it back is a requeue. The broker gives back what a lost
    connection held. So as many can be held as there are messages, and only :meth:`Permits.resize` makes or removes
    messages.

    A second queue, ``permits(NAME.total)``, holds one message: how many permits shall be and how many there are. It has
    a single active consumer, which makes reading it a lock that ends with its holder's connection. A change writes the new
    permits or the acknowledgement of a removed one, the new count, and the acknowledgement of the old count with one write
    on one channel: whoever dies, they happen together.

    Shrinking removes what it can, and in the background takes what is released, before any acquirer, by consumer priority.

What happens when it dies
    The holder: its permits return. Whoever shrinks: the next ``resize``, of anyone, goes on with it. The broker: permits are on
    disk, everything held is given back, and ``valid`` is False.

A permit held long would run into RabbitMQ's consumer timeout, which closes the channel. So after :data:`RENEW_AFTER` it is
exchanged: a consumer with the highest priority waits, then the permit is requeued, and comes back to that consumer.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from uuid import uuid4

from broker import names
from broker.errors import BrokerError, Unavailable
from broker.message import Message
from broker.rabbitmq import wire
from broker.rabbitmq.connection import Link, Session, end, whole
from broker.rabbitmq.delivery import Copier, Delivery, Intake, Lane
from broker.rabbitmq.failure import Border, Lost

log = logging.getLogger(__name__)

RENEW_AFTER = timedelta(minutes=10)
EXCHANGE_S = 5.0
MARK_LIFE = timedelta(minutes=2)
FIRST, BEFORE_OTHERS = 100, 50
"""Consumer priorities: of an exchange, which must get back what it gave, and of a removal. Acquirers have 0."""


@dataclass(frozen=True, slots=True)
class Count:
    """``total`` permits shall be, ``exists`` messages there are; the highest ``version`` is the truth."""

    total: int = 0
    exists: int = 0
    version: int = 0

    def message(self) -> Message:
        return Message(json.dumps([self.total, self.exists, self.version]).encode(), type="total")


class Permit:
    """See :class:`broker.broker.Permit`."""

    __slots__ = ("_delivery", "_owner", "exchanging", "since")

    def __init__(self, delivery: Delivery, owner: Permits) -> None:
        self._delivery: Delivery | None = delivery
        self._owner = owner
        self.exchanging = False
        self.since = asyncio.get_running_loop().time()

    @property
    def valid(self) -> bool:
        return self._delivery is not None and (self.exchanging or self._delivery.valid)

    async def release(self) -> None:
        delivery, self._delivery = self._delivery, None
        self._owner.forget(self)
        if delivery is not None and delivery.valid:
            delivery.give_back()

    def exchange(self, delivery: Delivery) -> None:
        """Hold ``delivery`` instead."""
        self._delivery = delivery
        self.since = asyncio.get_running_loop().time()

    def take_out(self) -> Delivery | None:
        """The delivery, to be given back while the permit waits for another."""
        return self._delivery


class Permits:
    """See :class:`broker.broker.Permits`."""

    def __init__(self, name: str, link: Link, copier: Copier, renew_after: timedelta = RENEW_AFTER) -> None:
        self._queue = names.permits(name)
        self._total_queue = names.permits(f"{name}.total")
        self._link = link
        self._copier = copier
        self._renew_after = renew_after.total_seconds()
        self._intake: Intake | None = None
        self._opening = asyncio.Lock()
        self._resizing = asyncio.Lock()
        self._tags = count(1)
        self._held: dict[Permit, None] = {}
        self._removing: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    def forget(self, permit: Permit) -> None:
        self._held.pop(permit, None)

    async def close(self) -> None:
        await end(self._removing)
        await end(self._renewing)
        if self._intake is not None:
            self._intake.close()

    async def _channel(self) -> Intake:
        return await whole(self._open_channel())

    async def _open_channel(self) -> Intake:
        async with self._opening:
            if self._intake is None or self._intake.lost.is_set():
                session = await self._link.connected_soon()
                intake = Intake(session, await session.channel(), self._copier)
                async with Border():
                    await intake.channel.queue_declare(self._queue, durable=True)
                self._intake = intake
            return self._intake

    # Taking

    async def acquire(self, timeout: timedelta) -> Permit | None:
        """Raises Unavailable when the connection goes while waiting."""
        intake = await self._channel()
        delivery = await intake.get(self._queue)
        if delivery is None and timeout > timedelta(0):
            delivery = await self._wait(intake, timeout.total_seconds())
        if delivery is None:
            return None
        permit = Permit(delivery, self)
        self._held[permit] = None
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew(), name=f"rabbitmq renew {self._queue}")
        return permit

    async def _wait(self, intake: Intake, seconds: float, priority: int = 0) -> Delivery | None:
        given: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        try:
            async with self._consumer(intake, given, priority):
                lost = asyncio.ensure_future(intake.lost.wait())
                await asyncio.wait((given, lost), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                lost.cancel()
                if intake.lost.is_set():
                    raise Unavailable("the connection was lost while waiting for a permit")
        except BaseException:
            _turn_away(given)
            raise
        # A permit may have come while the consumer was ending.
        return given.result() if given.done() else None

    @asynccontextmanager
    async def _consumer(self, intake: Intake, given: asyncio.Future[Delivery], priority: int) -> AsyncIterator[None]:
        def on_delivery(delivery: Delivery) -> None:
            if given.done():
                delivery.give_back()
            else:
                given.set_result(delivery)

        lane = Lane(f"permit.{next(self._tags)}", self._queue, 1, on_delivery)
        try:
            await whole(self._consume(intake, lane, priority))
            yield
        finally:
            await whole(_stop(intake, lane))

    async def _consume(self, intake: Intake, lane: Lane, priority: int) -> None:
        intake.lanes[lane.tag] = lane
        async with Border():
            await intake.channel.queue_declare(self._queue, durable=True)
            await intake.channel.basic_qos(prefetch_count=lane.limit)
            await intake.channel.basic_consume(
                self._queue, _never, consumer_tag=lane.tag, arguments={"x-priority": priority}
            )

    # Resizing

    async def resize(self, total: int) -> None:
        """Raises Unavailable; calling it again is harmless."""
        async with self._resizing:
            session = await self._link.connected_soon()
            async with self._counted(session) as (intake, counted, seen):
                exists = max(counted.exists, total)
                new = [Message(b"", type="permit") for _ in range(exists - counted.exists)]
                if new or counted.total != total or counted.version == 0:
                    await self._channel()
                    self._write(session, intake, seen, Count(total, exists, counted.version + 1), new, None)
                    await _flushed(intake)
            await self._shrink(exists - total)

    async def _shrink(self, surplus: int) -> None:
        await end(self._removing)
        if surplus > 0:
            waiting = asyncio.Event()
            self._removing = asyncio.create_task(self._remove(surplus, waiting), name=f"rabbitmq shrink {self._queue}")
            # From now on what is released reaches nobody else first.
            await waiting.wait()

    async def _remove(self, surplus: int, waiting: asyncio.Event) -> None:
        """Take what is released, before any acquirer, until as many exist as shall be."""
        while True:
            try:
                await self._remove_all(surplus, waiting)
                return
            except BrokerError:
                log.debug("shrinking %s begins again", self._queue, exc_info=True)
            waiting.set()
            await asyncio.sleep(0.2)

    async def _remove_all(self, surplus: int, waiting: asyncio.Event) -> None:
        session = await self._link.connected()
        intake = Intake(session, await session.channel(), self._copier)
        arrivals: asyncio.Queue[Delivery | None] = asyncio.Queue()
        watch = asyncio.create_task(_signal(intake.lost, arrivals))
        try:
            await self._consume(intake, Lane("surplus", self._queue, surplus, arrivals.put_nowait), BEFORE_OTHERS)
            waiting.set()
            while (permit := await arrivals.get()) is not None:
                if not await self._remove_one(session, permit):
                    return
            raise Lost
        finally:
            watch.cancel()
            await intake.shut()

    async def _remove_one(self, session: Session, permit: Delivery) -> bool:
        """Whether there are more to remove."""
        async with self._counted(session) as (totals, counted, seen):
            if counted.exists <= counted.total:
                permit.give_back()
                return False
            after = Count(counted.total, counted.exists - 1, counted.version + 1)
            self._write(session, totals, seen, after, [], permit)
            await _flushed(totals)
            return after.exists > after.total

    @asynccontextmanager
    async def _counted(self, session: Session) -> AsyncIterator[tuple[Intake, Count, list[Delivery]]]:
        """The count, with the lock held: nobody else reads or writes it meanwhile."""
        intake = Intake(session, await session.channel(), self._copier)
        arrivals: asyncio.Queue[Delivery | None] = asyncio.Queue()
        lane = Lane("total", self._total_queue, 0, arrivals.put_nowait)
        intake.lanes[lane.tag] = lane
        try:
            async with Border():
                await intake.channel.queue_declare(
                    self._total_queue, durable=True, arguments={"x-single-active-consumer": True}
                )
                await intake.channel.basic_consume(self._total_queue, _never, consumer_tag=lane.tag)
            watch = asyncio.create_task(_signal(intake.lost, arrivals))
            try:
                seen = await self._read(arrivals)
            finally:
                watch.cancel()
            counts = [Count(*json.loads(d.message.body)) for d in seen if d.message.type == "total"]
            yield intake, max(counts, key=lambda c: c.version, default=Count()), seen
        finally:
            # What was not written away is requeued as it was, and the next in line becomes the active consumer.
            await intake.shut()

    async def _read(self, arrivals: asyncio.Queue[Delivery | None]) -> list[Delivery]:
        # Whatever comes first, at least the first mark, says that this is now the active consumer. A second mark, put in
        # after that, is behind everything that others wrote before.
        marks = {await self._mark()}
        seen = [await _next(arrivals)]
        marks.add(last := await self._mark())
        while seen[-1].message.message_id != last:
            seen.append(await _next(arrivals))
        # The marks of others are left alone: they wait for them.
        return [d for d in seen if d.message.type == "total" or d.message.message_id in marks]

    async def _mark(self) -> str:
        mark = uuid4().hex
        message = Message(b"", message_id=mark, type="mark", persistent=False, expiration=MARK_LIFE)
        await self._copier.publish(message, routing_key=self._total_queue)
        return mark

    def _write(
        self, session: Session, intake: Intake, seen: list[Delivery], after: Count, new: list[Message],
        surplus: Delivery | None,
    ) -> None:  # fmt: skip
        parts = [(m, self._queue) for m in new] + [(after.message(), self._total_queue)]
        number, room = intake.channel.number, session.frame_room
        for message, queue in parts:
            session.tap.send(wire.publish(number, "", queue, False, wire.properties(message), message.body, room))
        for delivery in seen:
            delivery.settle_now()
        if surplus is not None:
            surplus.settle_now()
        session.tap.flush()

    # Renewing

    async def _renew(self) -> None:
        while self._held:
            oldest = min(permit.since for permit in self._held)
            await asyncio.sleep(max(0.01, oldest + self._renew_after - asyncio.get_running_loop().time()))
            for permit in tuple(self._held):
                if asyncio.get_running_loop().time() - permit.since >= self._renew_after:
                    await self._exchange(permit)

    async def _exchange(self, permit: Permit) -> None:
        intake, old = self._intake, permit.take_out()
        if intake is None or old is None or not old.valid:
            self.forget(permit)
            return
        given: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        permit.exchanging = True
        try:
            async with self._consumer(intake, given, FIRST), asyncio.timeout(EXCHANGE_S):
                if not given.done() and old.valid:
                    old.give_back()
                await asyncio.shield(given)
        except (BrokerError, TimeoutError):
            log.warning("a permit of %s could not be renewed in time", self._queue, exc_info=True)
        finally:
            permit.exchanging = False
        if permit not in self._held:
            _turn_away(given)
        elif not given.done():
            self.forget(permit)
        else:
            if old.valid:
                old.give_back()
            permit.exchange(given.result())


def _turn_away(given: asyncio.Future[Delivery]) -> None:
    """Nobody waits any more for what may have come."""
    if not given.done():
        given.cancel()
    elif not given.cancelled() and given.result().valid:
        given.result().give_back()


async def _stop(intake: Intake, lane: Lane) -> None:
    if intake.lost.is_set():
        return
    try:
        await intake.channel.basic_cancel(lane.tag)
    except Exception:
        log.debug("a consumer of permits ended with its channel", exc_info=True)
    intake.lanes.pop(lane.tag, None)


async def _next(arrivals: asyncio.Queue[Delivery | None]) -> Delivery:
    if (delivery := await arrivals.get()) is None:
        raise Lost
    return delivery


async def _signal(lost: asyncio.Event, arrivals: asyncio.Queue[Delivery | None]) -> None:
    await lost.wait()
    arrivals.put_nowait(None)


async def _flushed(intake: Intake) -> None:
    """The broker has processed everything sent on this channel before."""
    async with Border():
        await intake.channel.basic_qos(prefetch_count=0)


async def _never(_: object) -> None:
    """Deliveries go past aiormq; a callback is asked for all the same."""
