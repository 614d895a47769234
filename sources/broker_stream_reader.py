"""Reads one stream of the broker, from a position on, through everything that may happen to it.

A subscription of the broker comes back by itself after a loss, possibly on another stream of the same name, and repeats
what was not acknowledged. So here each loss ends the subscription, and a new one begins at the last record that was handed
on, which shows whether it is still the same stream (:mod:`sources.stream_verdict`). What was held and not handed on is
read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from broker.broker import Broker, Delivery, Offset, State
from broker.errors import BrokerError, Closed, QueueNotFound, Unavailable
from sources import stream_message
from sources.errors import PositionLost, SourceMissing, SourcesError, SourceUnavailable
from sources.mapping import StartingPosition
from sources.stream import After, Begin, Record, Start
from sources.stream_intake import PREFETCH, StreamIntake
from sources.stream_verdict import LONGEST_STEP, Seen, Verdict, judge, loss

PATIENCE = timedelta(seconds=1)
"""How long the broker may take to deliver a record that is there."""

LAST_OFFSET = 1 << 62  # beyond every stream's end, and still a number that a broker takes
CLOSING_S = 2.0
PROBE_S = 1.0
OPENING_S = 15.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


class Maker(Protocol):
    """What makes records of messages."""

    def record(
        self,
        shard: str,
        position: int,
        data: bytes,
        /,
        *,
        key: str,
        arrived: datetime,
        identity: str,
        traceparent: str,
    ) -> Record: ...


class End(Enum):
    """Where a stream ends, seen from a position."""

    BEFORE = "before"
    BEYOND = "beyond"
    EMPTY = "empty"


class BrokerStreamReader:
    """See :class:`sources.stream.ShardReader`. Subscribed once :meth:`open` returned; ``on_close`` is told of the end."""

    def __init__(
        self,
        broker: Broker,
        stream: str,
        shard: str,
        start: Start,
        records: Maker,
        clock: Callable[[], datetime],
        *,
        patience: timedelta = PATIENCE,
    ) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self._broker = broker
        self._stream = stream
        self._shard = shard
        self._records = records
        self._clock = clock
        self._patience_s = patience.total_seconds()
        self._resume: Start | datetime = start
        self._expected: int | None = None
        self._not_before = start.timestamp if isinstance(start, Begin) and start.exact else None
        self._now = clock()
        self._loss: PositionLost | None = None
        self._empty = False
        self._intake: StreamIntake | None = None
        self._prefetch = PREFETCH
        self._joining: asyncio.Task[StreamIntake] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Raises SourceUnavailable, SourceMissing."""
        try:
            self._joining = asyncio.create_task(self._join(), name=f"joining {self._stream}")
            await asyncio.wait((self._joining,), timeout=OPENING_S)
            if not self._joining.done():
                raise SourceUnavailable(f"the broker does not answer: {self._broker.status.reason or 'it is busy'}")
            joining, self._joining = self._joining, None
            self._intake = joining.result()
        except BaseException:
            await self.close()
            raise

    async def read(self, limit: int, wait: timedelta) -> Sequence[Record]:
        until = asyncio.get_running_loop().time() + wait.total_seconds()
        while (intake := await self._joined(until)) is not None:
            if self._loss is not None:
                lost, self._loss = self._loss, None
                raise lost
            if taken := intake.take(limit):
                if records := await self._handed_on(intake, taken):
                    return records
            elif not await intake.news(max(0.0, until - asyncio.get_running_loop().time())):
                await self._raise_if_away()
                break
        return ()

    async def close(self) -> None:
        self._closed = True
        joining, self._joining = self._joining, None
        probing, self._probing = self._probing, None
        if joining is not None:
            # An order to the broker is carried out to its end: cancelled in between, its subscription would stay.
            await asyncio.wait((joining,), timeout=CLOSING_S)
        for task in (joining, probing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if joining is not None and not joining.cancelled() and joining.exception() is None:
            await joining.result().close()
        intake, self._intake = self._intake, None
        if intake is not None:
            await intake.close()
        self.on_close()

    # Joining

    async def _joined(self, until: float) -> StreamIntake | None:
        """The intake, once there is one; None when time is up before that and nothing is known to be wrong.

        Raises SourceUnavailable, SourceMissing.
        """
        pause = FIRST_PAUSE_S
        while self._intake is None or self._intake.over or self._rings():
            if self._closed:
                raise SourceUnavailable("this reader has been closed")
            self._joining = self._joining or asyncio.create_task(self._join(), name=f"joining {self._stream}")
            await asyncio.wait((self._joining,), timeout=max(0.0, until - asyncio.get_running_loop().time()))
            if not self._joining.done():
                await self._raise_if_away()
                return None
            joining, self._joining = self._joining, None
            try:
                self._intake = joining.result()
            except SourcesError:
                # Try again while there is time: it may be just about to come.
                if asyncio.get_running_loop().time() + pause >= until:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        return self._intake

    async def _raise_if_away(self) -> None:
        """A broker that reports trouble may mean another queue: ask it about this one.

        Raises SourceUnavailable, SourceMissing.
        """
        status = self._broker.status
        if status.state not in (State.DISCONNECTED, State.CLOSED):
            return
        self._probing = self._probing or asyncio.create_task(self._probe(), name=f"probing {self._stream}")
        await asyncio.wait((self._probing,), timeout=PROBE_S)
        if not self._probing.done():
            raise SourceUnavailable(f"the stream {self._stream!r} cannot be read now: {status.reason}")
        probing, self._probing = self._probing, None
        probing.result()

    async def _probe(self) -> None:
        try:
            await self._broker.depth(self._stream)
        except BrokerError as error:
            raise _translated(error, self._stream) from error

    def _rings(self) -> bool:
        """The stream was empty, and now it is not."""
        return self._empty and self._intake is not None and self._intake.peek() is not None

    async def _join(self) -> StreamIntake:
        """Subscribe where reading is to go on. Raises SourceUnavailable, SourceMissing."""
        old, self._intake = self._intake, None
        self._empty = False
        if old is not None:
            self._prefetch = old.fitting if old.overflowed else PREFETCH
            await old.close()
        match self._resume:
            case After():
                return await self._follow(self._resume)
            case Begin(at=StartingPosition.TRIM_HORIZON):
                return await self._subscribe("first")
            case Begin(at=StartingPosition.LATEST):
                intake = await self._subscribe("next")
                # From here on it means this moment: what comes while the broker is away is new as well.
                self._resume = self._clock()
                return intake
            case Begin(timestamp=datetime() as moment) | (datetime() as moment):
                return await self._subscribe(moment)
        raise AssertionError("a position at a time has a time")

    async def _subscribe(self, offset: Offset) -> StreamIntake:
        try:
            return await StreamIntake.open(self._broker, self._stream, offset, prefetch=self._prefetch)
        except BrokerError as error:
            raise _translated(error, self._stream) from error

    async def _follow(self, after: After) -> StreamIntake:
        """Go on behind ``after``, if it is still the same stream."""
        intake = await self._subscribe(min(after.position, LAST_OFFSET))
        if not await intake.news(self._patience_s):
            await intake.close()
            return await self._follow_nothing(after)
        if (first := intake.peek()) is None or first.offset is None:
            await intake.close()
            raise SourceUnavailable(f"the stream {self._stream!r} was lost again at once")
        verdict = judge(after, Seen(first.offset, stream_message.identity(first.message)))
        self._loss = loss(after, verdict, first.offset)
        match verdict:
            case Verdict.SAME:
                intake.take(1)
                self._expected = after.position + 1
            case Verdict.NEXT | Verdict.GONE:
                self._expected = first.offset
            case Verdict.REMADE:
                await intake.close()
                return await self._begin_anew()
        return intake

    async def _follow_nothing(self, after: After) -> StreamIntake:
        """The broker delivers nothing from ``after.position`` on, although at least that record was there."""
        match await self._end(after.position):
            case End.BEYOND:
                raise SourceUnavailable(f"the stream {self._stream!r} delivers nothing from {after.position} on")
            case End.BEFORE if not after.identity:
                # A position that nobody has read, which a user wished for: what comes next is the first one behind it.
                intake = await self._subscribe("next")
                self._resume, self._expected = self._clock(), None
                return intake
            case End.BEFORE:
                self._loss = loss(after, Verdict.REMADE, None)
                return await self._begin_anew()
            case End.EMPTY:
                # Retention dropped everything, or it was made anew: the first record that comes will tell.
                intake = await self._subscribe("first")
                self._empty = True
                return intake

    async def _begin_anew(self) -> StreamIntake:
        self._resume, self._expected = Begin(StartingPosition.TRIM_HORIZON), None
        return await self._subscribe("first")

    async def _end(self, position: int) -> End:
        """The last chunk comes at once where there is one, and then what follows until the stream's end."""
        last = await self._subscribe("last")
        try:
            end = End.EMPTY
            while await last.news(self._patience_s):
                if last.over:
                    raise SourceUnavailable(f"the stream {self._stream!r} was lost again at once")
                if any(_offset(delivery) >= position for delivery in last.take(PREFETCH)):
                    return End.BEYOND
                end = End.BEFORE
            return end
        finally:
            await last.close()

    # Handing on

    async def _handed_on(self, intake: StreamIntake, taken: Sequence[Delivery]) -> list[Record]:
        """Records of what was taken, in order and without a gap; what follows a gap goes back for the next time."""
        self._now = max(self._now, self._clock())
        records: list[Record] = []
        for index, delivery in enumerate(taken):
            position = _offset(delivery)
            if self._expected is not None and not 0 <= position - self._expected < LONGEST_STEP:
                if position < self._expected:
                    # A loss that showed in no other way: find out which stream this is.
                    await intake.close()
                    break
                intake.put_back(taken[index:])
                if not records:
                    await self._look_into_gap(position)
                break
            record = self._record(position, delivery)
            self._expected = position + 1
            self._resume = After(position, record.identity)
            if self._not_before is not None and stream_message.is_before(record.arrived, self._not_before):
                continue
            self._not_before = None
            records.append(record)
        return records

    def _record(self, position: int, delivery: Delivery) -> Record:
        message = delivery.message
        return self._records.record(
            self._shard,
            position,
            message.body,
            key=stream_message.key(message, delivery.exchange, delivery.routing_key),
            arrived=stream_message.arrived(message, self._now),
            identity=stream_message.identity(message),
            traceparent=stream_message.traceparent(message),
        )

    async def _look_into_gap(self, found: int) -> None:
        """Offsets that hold the broker's own notes are not delivered; others are missing only if the stream begins later.

        Until that is known the gap stays, to be looked into again. Raises SourceUnavailable, SourceMissing.
        """
        first = await self._subscribe("first")
        try:
            await first.news(self._patience_s)
            begins = first.peek()
        finally:
            await first.close()
        if begins is None:
            raise SourceUnavailable(f"the broker does not say where the stream {self._stream!r} begins")
        expected, self._expected = self._expected, found
        if expected is not None and _offset(begins) - expected >= LONGEST_STEP:
            self._loss = PositionLost(expected, found)


def _offset(delivery: Delivery) -> int:
    """Raises SourceMissing for a delivery of a queue."""
    if delivery.offset is None:
        raise SourceMissing(f"{delivery.queue!r} is a queue, not a stream")
    return delivery.offset


def _translated(error: BrokerError, stream: str) -> SourceMissing | SourceUnavailable:
    match error:
        case QueueNotFound():
            return SourceMissing(
                f"the stream {stream!r} does not exist. Create it with `fnrunner stream create`, "
                "or delete the event source mapping"
            )
        case Unavailable() | Closed():
            return SourceUnavailable(f"the stream {stream!r} cannot be read now: {error}")
    return SourceMissing(f"{stream!r} is a queue, not a stream: {error}")
