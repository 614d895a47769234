"""Send dead letters back to their functions, so that whoever dies in between loses none.

::

    held ──mark──► redriving ──published──► redriven
      ▲                │  ▲
      └──not taken─────┘  └── may have been taken, or nobody settled it: published again once the mark is old

Every change is one conditional UPDATE, so two processes that want the same letter publish it once. A mark carries its
time: a young one belongs to a process that is publishing now, an old one to nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, select, update

from broker import names
from broker.broker import Broker
from broker.delays import milliseconds
from broker.envelope import Envelope, decode, to_message
from broker.errors import BrokerError, EnvelopeError, Unavailable
from fnrunner.delivery.errors import DeliveryError, PayloadNotJson, PayloadTooLarge
from fnrunner.delivery.letter import DESTINATION_ERRORS, ORIGINAL_PAYLOAD, UNDECODABLE, opened
from fnrunner.delivery.text import is_json
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.store.engine import Store
from fnrunner.store.schema import dead_letter
from fnrunner.telemetry.tracing import Tracing

log = logging.getLogger(__name__)

HELD, REDRIVING, REDRIVEN, PURGED = "held", "redriving", "redriven", "purged"
BATCH = 100
FIRST_ACCEPTED = "first_accepted_at_ms"
EDITED = "edited_at_ms"

OLD = timedelta(seconds=60)
"""The age from which a mark belongs to nobody: publishing takes at most half of it, settling the other half."""
CHECK_EVERY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Redriven:
    """Event ids that were published; those that were not with the reason, which are held as before; and those that may
    have been, with the reason: they are published again under the same id until that is certain."""

    event_ids: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    pending: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: Redriven) -> Redriven:
        return Redriven(self.event_ids + other.event_ids, self.refused + other.refused, self.pending + other.pending)


class _Fate(Enum):
    PUBLISHED, REFUSED, UNKNOWN = range(3)


class Redriver:
    """``clock`` gives epoch milliseconds. Started, it finishes what others left half done, ``every`` so often."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        home: Home,
        tracing: Tracing,
        *,
        clock: Callable[[], int],
        every: timedelta = CHECK_EVERY,
    ) -> None:
        self._store = store
        self._broker = broker
        self._home = home
        self._tracing = tracing
        self._clock = clock
        self._every = every
        self._checker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for half-done redrives now, and then now and again. A second start is harmless."""
        if self._checker is None:
            self._checker = asyncio.create_task(self._check_for_ever(), name="half-done redrives")

    async def close(self) -> None:
        """Idempotent. What is cut off is finished by whoever looks next."""
        if (checker := self._checker) is not None:
            self._checker = None
            checker.cancel()
            await asyncio.wait([checker])

    async def redrive(self, which: ColumnElement[bool]) -> Redriven:
        """Publish the held letters among these, at most :data:`BATCH`. Raises StoreError; ``finish`` does the rest."""
        # Marked before published: whoever dies in between leaves a mark that `finish` finds.
        return await self._publish(await self._mark(which, _in_state(HELD)))

    async def finish(self) -> int:
        """Finish redrives that nobody is at any more; how many. They may have been published already.

        Raises StoreError. What cannot be published now is found again by a later call.
        """
        before_ms = self._clock() - milliseconds(OLD)
        left = and_(_in_state(REDRIVING), dead_letter.c.marked_ms <= before_ms)
        done = after = 0
        while ids := await self._next(left, after):
            # Marked anew before they are published, so that other processes leave them alone.
            done += len((await self._publish(await self._mark(dead_letter.c.id.in_(ids), left))).event_ids)
            after = ids[-1]
        return done

    async def _check_for_ever(self) -> None:
        while True:
            try:
                if count := await self.finish():
                    log.info("finished %d redrives that had been left half done", count)
            except Exception:
                log.exception("half-done redrives cannot be finished; it is tried again")
            await asyncio.sleep(self._every.total_seconds())

    async def _next(self, which: ColumnElement[bool], after: int) -> list[int]:
        query = select(dead_letter.c.id).where(which, dead_letter.c.id > after).order_by(dead_letter.c.id).limit(BATCH)
        return await self._store.read(lambda c: list(c.execute(query).scalars()))

    async def _mark(self, which: ColumnElement[bool], condition: ColumnElement[bool]) -> list[Row[Any]]:
        def work(connection: Connection) -> list[Row[Any]]:
            mark = update(dead_letter).where(which, condition).values(state=REDRIVING, marked_ms=self._clock())
            return list(connection.execute(mark.returning(*dead_letter.columns)).all())

        return sorted(await self._store.write(work), key=lambda row: row.id)

    async def _publish(self, rows: Sequence[Row[Any]]) -> Redriven:
        fates = await asyncio.gather(*(self._publish_one(row) for row in rows))
        found: dict[_Fate, list[tuple[Row[Any], str]]] = {fate: [] for fate in _Fate}
        for row, (fate, why) in zip(rows, fates, strict=True):
            found[fate].append((row, why))
        sent, refused, unknown = (found[fate] for fate in _Fate)
        await self._settle([row.id for row, _ in sent], [row.id for row, _ in refused])
        return Redriven(
            tuple(row.event_id for row, _ in sent),
            tuple((row.event_id, why) for row, why in refused),
            tuple((row.event_id, why) for row, why in unknown),
        )

    async def _publish_one(self, row: Row[Any]) -> tuple[_Fate, str]:
        """What became of it, and why. One letter's trouble is its own, whatever it is."""
        try:
            await self._send(self._event(row))
        except Unavailable as error:
            log.warning("dead letter %s of %s may have been published: %s", row.event_id, row.function, error)
            return _Fate.UNKNOWN, f"It may have been published, and will be again under the same id. {error}"
        except DeliveryError as error:
            return _Fate.REFUSED, str(error)
        except BrokerError as error:
            log.warning("dead letter %s of %s stays: %s", row.event_id, row.function, error)
            return _Fate.REFUSED, str(error)
        except Exception as error:
            log.exception("dead letter %s of %s stays", row.event_id, row.function)
            return _Fate.REFUSED, f"It cannot be redriven as it is ({type(error).__name__}): see the API's log"
        return _Fate.PUBLISHED, ""

    async def _send(self, event: Envelope) -> None:
        """Publish it in its own trace, under a span that links to the attempt that failed last."""
        queue = names.events(event.function)
        links = tuple(attempt.traceparent for attempt in event.attempts[-1:])
        redrive = self._tracing.redrive(event.function, event.trace, message_id=event.id, links=links)
        span = self._tracing.publish(queue, redrive.carrier, message_id=event.id, routing_key=queue)
        try:
            await self._broker.publish(to_message(replace(event, trace=span.carrier)), routing_key=queue)
        except BrokerError as error:
            span.fail(type(error).__name__, str(error))
            raise
        finally:
            span.end()
            redrive.end()

    def _event(self, row: Row[Any]) -> Envelope:
        """The event to publish: no attempt charged, its age counted from now, its history and trace kept."""
        envelope = opened(row.event_id, row.function, row.envelope, row.at_ms)
        if row.reason == UNDECODABLE:
            envelope = self._readable(envelope)
        extra = {k: v for k, v in envelope.extra.items() if k not in (ORIGINAL_PAYLOAD, EDITED, DESTINATION_ERRORS)}
        return replace(
            envelope,
            accepted_at_ms=self._clock(),
            attempt=0,
            throttles=0,
            suspect=False,
            redrives=row.redrives + 1,
            extra={FIRST_ACCEPTED: envelope.accepted_at_ms, **extra},
        )

    def _readable(self, envelope: Envelope) -> Envelope:
        """A foreign message as an event. An envelope of a newer release is read as such once this one can."""
        try:
            return replace(decode(envelope.payload), id=envelope.id, function=envelope.function)
        except EnvelopeError:
            check_payload(envelope.payload)
            return replace(envelope, invoked_arn=envelope.invoked_arn or self._home.function(envelope.function))

    async def _settle(self, sent: Sequence[int], refused: Sequence[int]) -> None:
        def work(connection: Connection) -> None:
            for ids, state in ((sent, REDRIVEN), (refused, HELD)):
                if ids:
                    chosen = and_(dead_letter.c.id.in_(ids), _in_state(REDRIVING))
                    connection.execute(update(dead_letter).where(chosen).values(state=state, marked_ms=None))

        if sent or refused:
            await self._store.write(work)


def check_payload(payload: bytes) -> None:
    """Whether it may be the payload of an event. Raises PayloadTooLarge, PayloadNotJson."""
    if len(payload) > limits.ASYNC_PAYLOAD_BYTES:
        raise PayloadTooLarge(f"{len(payload)} bytes are too large for an event (limit {limits.ASYNC_PAYLOAD_BYTES})")
    if not is_json(payload):
        raise PayloadNotJson


def _in_state(state: str) -> ColumnElement[bool]:
    return dead_letter.c.state == state
