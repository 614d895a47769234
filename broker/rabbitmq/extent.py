"""Whether a stream of RabbitMQ reaches up to a number, which AMQP 0-9-1 does not say.

Whoever asks RabbitMQ for a number beyond the end gets nothing until a record has that number: all that come before it are
passed over in silence. After a stream was deleted and made again that would be everything. (The count of messages that comes
with a declaration does not help: on RabbitMQ 3 it is seconds old.)
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from aiormq.abc import AbstractChannel

from broker.broker import Offset
from broker.rabbitmq.connection import Session
from broker.rabbitmq.delivery import Copier, Delivery, Intake, Lane
from broker.rabbitmq.failure import Border

SILENCE_S = 2.0
"""How long nothing more may come from the end of a stream before what came was the last."""

PREFETCH = 16
"""Records may be large, and all but one of them are not wanted."""


async def end_before(session: Session, queue: str, number: int, copier: Copier) -> int | None:
    """Where the stream ends, when that is before ``number``; None when it reaches that far. Raises Lost.

    The record before the number comes at once where it exists, or a later one where retention has dropped it. Only when
    none comes is the end read, from the last chunk on. A stream without any record, or that does not answer, ends at 0: then
    reading starts with the first record there is, which may repeat records but passes over none.
    """
    async with Probe(session, await session.channel(), queue, copier) as probe:
        if await probe.reads_up_to(number - 1, number - 1) or await probe.reads_up_to(number - 1, "last"):
            return None
        return 0 if probe.newest is None else probe.newest + 1


class Probe:
    """Reads a stream only for its numbers. ``newest`` is the last that was seen."""

    def __init__(self, session: Session, channel: AbstractChannel, queue: str, copier: Copier) -> None:
        self.newest: int | None = None
        self._queue = queue
        self._channel = channel
        self._intake = Intake(session, channel, copier)
        self._came = asyncio.Event()

    async def __aenter__(self) -> Probe:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._intake.shut()

    async def reads_up_to(self, number: int, start: Offset) -> bool:
        """Read from ``start`` until that number, or a later one, has come, or nothing has for a while."""
        tag = f"probe from {start}"
        self._intake.lanes[tag] = Lane(tag, self._queue, PREFETCH, self._note)
        async with Border():
            await self._channel.basic_qos(prefetch_count=PREFETCH)
            await self._channel.basic_consume(
                self._queue, _never, consumer_tag=tag, arguments={"x-stream-offset": start}
            )
        try:
            while self.newest is None or self.newest < number:
                async with asyncio.timeout(SILENCE_S):
                    await self._came.wait()
                self._came.clear()
        except TimeoutError:
            return False
        return True

    def _note(self, delivery: Delivery) -> None:
        self.newest = delivery.offset
        self._came.set()
        delivery.settle_now()


async def _never(_: object) -> None:
    """Deliveries go past aiormq; a callback is asked for all the same."""
