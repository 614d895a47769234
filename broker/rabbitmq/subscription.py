"""Consumers that keep their prefetch while it changes, and come back after every loss.

RabbitMQ fixes a consumer's prefetch when it starts, and forgets what a cancelled consumer still has out. So a subscription
is a few consumers on one channel, its *lanes*, and this holds at every moment::

    sum of the limits of the living lanes + deliveries still out from cancelled lanes  <=  prefetch

Growing adds a lane with what is missing; shrinking cancels the youngest lanes and, as what they had out is settled, adds
one with what is left. Nothing is held back locally, deliveries stay valid, and the channel stays the same.
A stream has one lane only, since two would each get every record: growing takes effect when a new one can start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

from broker.broker import OnDelivery
from broker.errors import BrokerError, QueueNotFound
from broker.rabbitmq.attachment import Attachment
from broker.rabbitmq.connection import Link, Session, end, whole
from broker.rabbitmq.declaration import Declarations
from broker.rabbitmq.delivery import Copier, Intake, Lane
from broker.rabbitmq.failure import Border

log = logging.getLogger(__name__)

SILENCE = timedelta(minutes=5)
RESTORE_AFTER = timedelta(seconds=1)
MOST_LANES = 8
LARGEST_PREFETCH = 65_535


class Subscription:
    """See :class:`broker.broker.Subscription`."""

    def __init__(
        self,
        link: Link,
        declarations: Declarations,
        copier: Copier,
        forget: Callable[[Subscription], None],
        queue: str,
        on_delivery: OnDelivery,
        prefetch: int,
    ) -> None:
        self.queue = queue
        self.prefetch = min(prefetch, LARGEST_PREFETCH)
        self._declarations = declarations
        self._copier = copier
        self._forget = forget
        self._on_delivery = on_delivery
        self._intake: Intake | None = None
        self._lanes: list[Lane] = []
        self._foreign = 0
        self._tags = count(1)
        self._changing = asyncio.Lock()
        self._fitting: asyncio.Task[None] | None = None
        self._cancelled = False
        self._missing_since: float | None = None
        self._lost = ""
        self._timer = asyncio.get_running_loop().call_later(0, lambda: None)
        self._renewing: asyncio.Task[None] | None = None
        self._attachment = Attachment(link, self._attach, f"consuming {queue!r}")

    @property
    def trouble(self) -> str:
        return self._attachment.trouble

    @property
    def lost(self) -> str:
        return "" if self._cancelled else self._lost

    async def start(self) -> None:
        """Raises QueueNotFound, Unavailable."""
        await self._attachment.start()

    async def set_prefetch(self, prefetch: int) -> None:
        await whole(self._set_prefetch(prefetch))

    async def _set_prefetch(self, prefetch: int) -> None:
        async with self._changing:
            self.prefetch = min(prefetch, LARGEST_PREFETCH)
            await self._fit_quietly()

    async def cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        self._timer.cancel()
        self._forget(self)
        await self._attachment.stop()
        await whole(self._cancel())

    async def _cancel(self) -> None:
        async with self._changing:
            self.prefetch = 0
            await self._fit_quietly()
            self._end_when_empty()

    def _end_when_empty(self) -> None:
        """A cancelled subscription needs its channel only as long as something is out."""
        if self._cancelled and self._intake is not None and not self._intake.out and self._fitting is None:
            self._fitting = asyncio.create_task(self._intake.shut(), name=f"rabbitmq end of {self.queue}")

    async def close(self) -> None:
        """End it with its client: what is out is lost to it and delivered again."""
        self._cancelled = True
        self._timer.cancel()
        await self._attachment.stop()
        await end(self._fitting)
        await end(self._renewing)
        if self._intake is not None:
            self._intake.close()

    # Setting up

    async def _attach(self, session: Session) -> asyncio.Event:
        async with self._changing:
            try:
                lost = await self._consume_on(session)
            except QueueNotFound as gone:
                self._lost = str(gone)
                self._begin_anew()
                if not self._may_restore():
                    raise
                await self._declarations.restore(self.queue, session)
                lost = await self._consume_on(session)
            self._missing_since = None
            return lost

    def _may_restore(self) -> bool:
        """A queue of this connection at once; any other only when its deletion is surely over.

        RabbitMQ 4.0 loses its dead-letter supervisor, for the whole node, over a quorum queue declared while it is being
        deleted. Whoever deletes a queue on purpose can also tell its consumers in this time.
        """
        if self._declarations.is_exclusive(self.queue):
            return True
        now = asyncio.get_running_loop().time()
        if self._missing_since is None:
            self._missing_since = now
        return now - self._missing_since >= RESTORE_AFTER.total_seconds()

    async def _consume_on(self, session: Session) -> asyncio.Event:
        if self._intake is not None:
            self._intake.close()
            self._resume_after(self._intake)
        intake = Intake(session, await session.channel(), self._copier)
        intake.on_settled = self._on_settled
        self._intake, self._lanes, self._foreign = intake, [], 0
        async with Border():
            # Consuming says so when the queue is missing; a paused subscription must look.
            await intake.channel.queue_declare(self.queue, passive=True)
        self._lost = ""
        await self._place(session)
        await self._fit()
        self._watch(intake)
        return intake.lost

    def _watch(self, intake: Intake) -> None:
        self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SILENCE.total_seconds(), self._after_silence, intake, intake.delivered)

    def _after_silence(self, intake: Intake, delivered: int) -> None:
        """Begin again when nothing came for long, in case it is not for want of messages.

        RabbitMQ 3 says nothing to a consumer whose quorum queue is deleted and made again within the same instant.
        """
        if intake.lost.is_set() or self._cancelled:
            return
        if intake.delivered == delivered and not intake.out and self.prefetch > 0:
            self._renewing = asyncio.create_task(intake.shut(), name=f"rabbitmq renew {self.queue}")
        else:
            self._watch(intake)

    def _resume_after(self, intake: Intake) -> None:
        """Hook for streams: where to go on after what ``intake`` delivered."""

    def _begin_anew(self) -> None:
        """Hook for streams: the queue is gone, and so are its numbers."""

    async def _place(self, session: Session) -> None:
        """Hook for streams: where to begin in what is there."""

    def _arguments(self) -> dict[str, Any]:
        return {}

    # Keeping the prefetch

    def _on_settled(self, lane: Lane) -> None:
        if self._cancelled:
            self._end_when_empty()
        elif lane.dead:
            self._foreign -= 1
            if self._wants_lane() and self._fitting is None:
                self._fitting = asyncio.create_task(self._fit_later(), name=f"rabbitmq prefetch of {self.queue}")

    def _spare(self) -> int:
        return self.prefetch - self._foreign - sum(lane.limit for lane in self._lanes)

    def _wants_lane(self) -> bool:
        # While a cancelled lane drains, a lane for each settled delivery would be too many: wait for the last one.
        spare = self._spare()
        return spare > 0 and (self._foreign == 0 or not self._lanes or spare * 2 >= self.prefetch)

    async def _fit_later(self) -> None:
        try:
            while self._wants_lane() and self._intake is not None and not self._intake.lost.is_set():
                await whole(self._fit_again())
        finally:
            self._fitting = None

    async def _fit_again(self) -> None:
        async with self._changing:
            await self._fit_quietly()

    async def _fit_quietly(self) -> None:
        if self._intake is None or self._intake.lost.is_set():
            return
        try:
            await self._fit()
        except BrokerError:
            # The channel has gone, and with it every lane: the attachment sets it up anew with the prefetch of now.
            log.debug("the prefetch of %s changes with the next connection", self.queue, exc_info=True)

    async def _fit(self) -> None:
        intake = self._intake
        assert intake is not None
        while self._lanes and self._spare() < 0:
            await self._stop_lane(intake, self._lanes[-1])
        if len(self._lanes) >= MOST_LANES and self._spare() > 0:
            await self._stop_lane(intake, min(self._lanes, key=lambda lane: lane.limit - lane.out))
        if self._wants_lane():
            await self._start_lane(intake, self._spare())

    async def _start_lane(self, intake: Intake, limit: int) -> None:
        lane = Lane(f"{self.queue[:180]}.{next(self._tags)}", self.queue, limit, self._on_delivery)
        intake.lanes[lane.tag] = lane
        async with Border():
            await intake.channel.basic_qos(prefetch_count=limit)
            await intake.channel.basic_consume(self.queue, _never, consumer_tag=lane.tag, arguments=self._arguments())
        self._lanes.append(lane)

    async def _stop_lane(self, intake: Intake, lane: Lane) -> None:
        async with Border():
            await intake.channel.basic_cancel(lane.tag)
        # What arrived before the broker's answer counts: only now is it known what this lane has out.
        del intake.lanes[lane.tag]
        lane.dead = True
        self._lanes.remove(lane)
        self._foreign += lane.out


async def _never(_: object) -> None:
    """Deliveries go past aiormq; a callback is asked for all the same."""
