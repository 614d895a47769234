"""How many permits shall be and how many there are, under a lock that ends with its holder's connection.

The queue ``permits(NAME.total)`` holds one message with both numbers. It has a single active consumer, so that reading it is
a lock. A change writes the new permits or the acknowledgements of removed ones, the new count, and the acknowledgement of
the old count with one write on one connection: whoever dies, they happen together.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from broker import names
from broker.message import Message
from broker.rabbitmq import wire
from broker.rabbitmq.connection import Session
from broker.rabbitmq.delivery import Copier, Delivery, Intake, Lane
from broker.rabbitmq.failure import Border, Lost

MARK_LIFE = timedelta(minutes=2)

NO_LIMIT = 2**62
"""A permit is given back as often as it is used; no number of that may drop it."""


@dataclass(frozen=True, slots=True)
class Count:
    """``total`` permits shall be, ``exists`` messages there are; the highest ``version`` is the truth.

    ``generation`` is the one that came with the total.
    """

    total: int = 0
    exists: int = 0
    version: int = 0
    generation: int = 0

    def message(self, *, persistent: bool) -> Message:
        body = json.dumps([self.total, self.exists, self.version, self.generation]).encode()
        return Message(body, type="total", persistent=persistent)


class Counted:
    """The count while the lock is held: nobody else reads or writes it meanwhile."""

    def __init__(
        self, session: Session, intake: Intake, queues: CountQueue, count: Count, seen: list[Delivery]
    ) -> None:
        self.count = count
        self._session = session
        self._intake = intake
        self._queues = queues
        self._seen = seen

    async def write(
        self, total: int, exists: int, generation: int, *, removed: Sequence[Delivery] = (), new: int = 0
    ) -> None:
        """Store the count, and make ``new`` permits or end those that were ``removed``, together. Raises Lost."""
        if not all(delivery.valid for delivery in (*self._seen, *removed)):
            raise Lost  # before anything is sent: all of it happens, or nothing
        after = Count(total, exists, self.count.version + 1, generation)
        permit = self._queues.permit()
        parts = [(permit, self._queues.permits)] * new + [
            (after.message(persistent=self._queues.cluster), self._queues.total)
        ]
        number, room = self._intake.channel.number, self._session.frame_room
        for message, queue in parts:
            data = wire.publish(number, "", queue, False, wire.properties(message), message.body, room)
            self._session.tap.send(data)
        for delivery in (*self._seen, *removed):
            delivery.settle_now()
        self._session.tap.flush()
        self.count, self._seen = after, []
        await flushed(self._intake)


class CountQueue:
    """The two queues of one name of permits."""

    def __init__(self, name: str, copier: Copier, *, cluster: bool) -> None:
        self.permits = names.permits(name)
        self.total = names.permits(f"{name}.total")
        self.cluster = cluster
        self._copier = copier

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the queue of permits: on every node of a cluster; on one node, what is rejected comes back like new."""
        if self.cluster:
            return self._safe
        return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.permits}

    @property
    def _safe(self) -> dict[str, Any]:
        return {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT} if self.cluster else {}

    def permit(self) -> Message:
        """One node forgets permits when it ends, with all who held some: they are counted anew, exactly."""
        return Message(b"", type="permit", persistent=self.cluster)

    @asynccontextmanager
    async def locked(self, session: Session) -> AsyncIterator[Counted]:
        """Wait for the lock. Raises Lost."""
        intake = Intake(session, await session.channel(), self._copier)
        arrivals: asyncio.Queue[Delivery | None] = asyncio.Queue()
        lane = Lane("total", self.total, 0, arrivals.put_nowait)
        intake.lanes[lane.tag] = lane
        try:
            async with Border():
                await intake.channel.queue_declare(
                    self.total, durable=True, arguments={"x-single-active-consumer": True, **self._safe}
                )
                await intake.channel.basic_consume(self.total, never, consumer_tag=lane.tag)
            watch = asyncio.create_task(signal(intake.lost, arrivals))
            try:
                seen = await self._read(arrivals)
            finally:
                watch.cancel()
            counts = [Count(*json.loads(d.message.body)) for d in seen if d.message.type == "total"]
            yield Counted(session, intake, self, max(counts, key=lambda c: c.version, default=Count()), seen)
        finally:
            # What was not written away is requeued as it was, and the next in line becomes the active consumer.
            await intake.shut()

    async def _read(self, arrivals: asyncio.Queue[Delivery | None]) -> list[Delivery]:
        # Whatever comes first, at least the first mark, says that this is now the active consumer. A second mark, put in
        # after that, is behind everything that others wrote before.
        marks = {await self._mark()}
        seen = [await following(arrivals)]
        marks.add(last := await self._mark())
        while seen[-1].message.message_id != last:
            seen.append(await following(arrivals))
        # The marks of others are left alone: they wait for them.
        return [d for d in seen if d.message.type == "total" or d.message.message_id in marks]

    async def _mark(self) -> str:
        mark = uuid4().hex
        message = Message(b"", message_id=mark, type="mark", persistent=False, expiration=MARK_LIFE)
        await self._copier.publish(message, routing_key=self.total)
        return mark


async def following(arrivals: asyncio.Queue[Delivery | None]) -> Delivery:
    """The next to come. Raises Lost."""
    if (delivery := await arrivals.get()) is None:
        raise Lost
    return delivery


async def signal(lost: asyncio.Event, arrivals: asyncio.Queue[Delivery | None]) -> None:
    """None on ``arrivals`` when nothing more comes."""
    await lost.wait()
    arrivals.put_nowait(None)


async def flushed(intake: Intake, prefetch: int = 0) -> None:
    """The broker has processed everything sent on this channel before; the next consumer has this prefetch."""
    async with Border():
        await intake.channel.basic_qos(prefetch_count=prefetch)


async def never(_: object) -> None:
    """Deliveries go past aiormq; a callback is asked for all the same."""
