"""Reading a stream on RabbitMQ from an offset, and after a loss on from there, so that nothing unsettled is skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from broker import broker as port
from broker.broker import Offset, OnDelivery
from broker.rabbitmq.connection import Link, Session
from broker.rabbitmq.declaration import Declarations
from broker.rabbitmq.delivery import Copier, Intake, Lane
from broker.rabbitmq.extent import end_before
from broker.rabbitmq.subscription import Subscription


class StreamSubscription(Subscription):
    """See the module's docstring."""

    def __init__(
        self,
        link: Link,
        declarations: Declarations,
        copier: Copier,
        forget: Callable[[Subscription], None],
        queue: str,
        on_delivery: OnDelivery,
        prefetch: int,
        offset: Offset,
    ) -> None:
        super().__init__(link, declarations, copier, forget, queue, self._note, prefetch)
        self._offset = offset
        self._tell = on_delivery
        self._next: int | None = None

    def _note(self, delivery: port.Delivery) -> None:
        if delivery.offset is not None:
            self._next = delivery.offset + 1
        self._tell(delivery)

    def _resume_after(self, intake: Intake) -> None:
        unsettled = [d.offset for d in intake.out.values() if d.offset is not None]
        if unsettled:
            self._next = min(unsettled)

    def _begin_anew(self) -> None:
        self._next = 0

    async def _place(self, session: Session) -> None:
        """Ask for no number beyond the end, see :mod:`~broker.rabbitmq.extent`."""
        resumes = self._next is not None
        wanted = self._next if resumes else self._offset
        if not isinstance(wanted, int) or wanted <= 0:
            return
        end = await end_before(session, self.queue, wanted, self._copier)
        if end is not None:
            # Where a record was read before and is not there now, it is another stream of the same name.
            self._next = 0 if resumes else end

    def _arguments(self) -> dict[str, Any]:
        start: Any = self._next
        if start is None:
            start = self._offset
            if start in ("next", "last"):
                # From here on it means a moment: a restart before the first record must not skip what came since.
                self._offset = datetime.now(UTC)
        return {"x-stream-offset": start}

    def _on_settled(self, lane: Lane) -> None:
        if self._cancelled:
            self._end_when_empty()
            return
        if lane.dead:
            self._foreign -= 1
        if self._wants_lane() and self._fitting is None:
            self._fitting = asyncio.create_task(self._fit_later(), name=f"rabbitmq prefetch of {self.queue}")

    def _wants_lane(self) -> bool:
        if not self._lanes:
            return self._spare() > 0
        return self._lanes[0].limit < self.prefetch and self._foreign == 0 and self._lanes[0].out == 0

    async def _fit(self) -> None:
        intake = self._intake
        assert intake is not None
        if self._lanes and self._lanes[0].limit != self.prefetch:
            await self._stop_lane(intake, self._lanes[0])
        if self._wants_lane():
            await self._start_lane(intake, self._spare())
