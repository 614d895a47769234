"""Work with filed dead letters: list, show, edit, redrive, purge.

States: ``held`` (someone should look), ``redriving`` (marked before its event is published), ``redriven``, ``purged``.
Every change of state is one conditional UPDATE, so two people who redrive the same letter publish it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, update

from broker import names
from broker.broker import Broker
from broker.envelope import Envelope, decode, encode, to_message
from broker.errors import BrokerError, EnvelopeError
from fnrunner.delivery.errors import (
    DeadLetterNotFound,
    DeadLetterNotHeld,
    MarkerInvalid,
    PayloadNotJson,
    PayloadTooLarge,
)
from fnrunner.delivery.letter import DESTINATION_ERRORS, ORIGINAL_PAYLOAD, UNDECODABLE, opened, original_payload
from fnrunner.delivery.text import is_json
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.store.engine import Store
from fnrunner.store.schema import dead_letter
from fnrunner.telemetry.tracing import Tracing, Untraced

log = logging.getLogger(__name__)

HELD, REDRIVING, REDRIVEN, PURGED = "held", "redriving", "redriven", "purged"
BATCH = 100
FIRST_ACCEPTED = "first_accepted_at_ms"
EDITED = "edited_at_ms"

_SUMMARY = tuple(c for c in dead_letter.columns if c.name != "envelope")


@dataclass(frozen=True, slots=True)
class DeadLetterSummary:
    """A row without its envelope. ``id`` orders letters by when they were filed; ``at_ms`` is when it was given up."""

    id: int
    event_id: str
    redrives: int
    function: str
    reason: str
    error_type: str
    error_message: str
    at_ms: int
    state: str
    digest: str
    traceparent: str


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """``marker`` is for the next page; empty on the last one."""

    letters: tuple[DeadLetterSummary, ...]
    marker: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetterDetail:
    """``envelope`` carries the payload as it would be redriven, ``original`` the one that failed. Both are empty once
    the letter is purged. ``destination_errors`` say which destinations could not be told."""

    summary: DeadLetterSummary
    envelope: Envelope
    original: bytes

    @property
    def edited(self) -> bool:
        return ORIGINAL_PAYLOAD in self.envelope.extra

    @property
    def destination_errors(self) -> tuple[str, ...]:
        return tuple(str(error) for error in self.envelope.extra.get(DESTINATION_ERRORS, ()))


@dataclass(frozen=True, slots=True)
class Redriven:
    """Event ids that were published, and those that were not with the reason: they are held as before."""

    event_ids: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: Redriven) -> Redriven:
        return Redriven(self.event_ids + other.event_ids, self.refused + other.refused)


class DeadLetters:
    """``clock`` gives epoch milliseconds."""

    def __init__(
        self, store: Store, broker: Broker, home: Home, *, clock: Callable[[], int], tracing: Tracing | None = None
    ) -> None:
        self._tracing = tracing or Untraced()
        self._store = store
        self._broker = broker
        self._home = home
        self._clock = clock

    async def start(self) -> int:
        """Finish redrives that a dying process began; how many. They may have been published already.

        Raises StoreError; a broker that is away leaves them for the next start.
        """
        rows = await self._store.read(lambda c: c.execute(select(dead_letter).where(_in_state(REDRIVING))).all())
        done = Redriven()
        for start in range(0, len(rows), BATCH):
            done += await self._publish(rows[start : start + BATCH])
        return len(done.event_ids)

    async def list(self, function: str, state: str = HELD, marker: str = "", limit: int = 50) -> DeadLetterPage:
        """Oldest first; ``state`` empty means every state. Raises MarkerInvalid."""
        if marker and not marker.isdecimal():
            raise MarkerInvalid
        conditions = [dead_letter.c.function == function, dead_letter.c.id > int(marker or 0)]
        if state:
            conditions.append(_in_state(state))
        query = select(*_SUMMARY).where(*conditions).order_by(dead_letter.c.id).limit(limit + 1)
        rows = await self._store.read(lambda c: c.execute(query).all())
        letters = tuple(_summary(row) for row in rows[:limit])
        return DeadLetterPage(letters, str(letters[-1].id) if len(rows) > limit else "")

    async def count(self, function: str, state: str = HELD) -> int:
        """How many letters the function has in this state."""
        query = select(func.count()).where(dead_letter.c.function == function, _in_state(state))
        return await self._store.read(lambda c: int(c.execute(query).scalar_one()))

    async def get(self, function: str, event_id: str) -> DeadLetterDetail:
        """The newest letter of this event. Raises DeadLetterNotFound."""
        row = await self._store.read(lambda c: _newest(c, function, event_id))
        return _detail(row)

    async def edit(self, function: str, event_id: str, payload: bytes) -> DeadLetterDetail:
        """Replace what will be redriven; the payload that failed is kept beside it.

        Raises DeadLetterNotFound, DeadLetterNotHeld, PayloadNotJson, PayloadTooLarge.
        """
        _check_payload(payload)
        edited_ms = self._clock()

        def work(connection: Connection) -> Row[Any]:
            row = _newest(connection, function, event_id)
            envelope = _opened(row)
            extra = {ORIGINAL_PAYLOAD: envelope.payload, **envelope.extra, EDITED: edited_ms}
            body = encode(replace(envelope, payload=payload, extra=extra))
            changed = connection.execute(
                update(dead_letter).where(dead_letter.c.id == row.id, _in_state(HELD)).values(envelope=body)
            )
            if changed.rowcount == 0:
                raise DeadLetterNotHeld
            return _newest(connection, function, event_id)

        return _detail(await self._store.write(work))

    async def redrive(self, function: str, event_ids: Collection[str] | None = None) -> Redriven:
        """Send held letters (None: all that are held now) back to their function, as new events with their old id.

        Raises StoreError; what was not published by then is finished by ``start``.
        """
        if event_ids is not None:
            done = Redriven()
            wanted = list(dict.fromkeys(event_ids))
            for start in range(0, len(wanted), BATCH):
                done += await self._redrive_some(function, dead_letter.c.event_id.in_(wanted[start : start + BATCH]))
            known = {*done.event_ids, *(event_id for event_id, _ in done.refused)}
            missing = tuple((i, str(DeadLetterNotFound())) for i in wanted if i not in known)
            return done + Redriven(refused=missing)
        return await self._redrive_all(function)

    async def purge(self, function: str, event_ids: Collection[str] | None = None) -> int:
        """Drop the contents of held letters (None: all); how many. Their rows stay, so that the audit balances."""
        conditions = [dead_letter.c.function == function, _in_state(HELD)]
        if event_ids is None:
            return await self._purge(conditions)
        wanted = list(dict.fromkeys(event_ids))
        some = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
        return sum([await self._purge([*conditions, dead_letter.c.event_id.in_(part)]) for part in some])

    async def _purge(self, conditions: Sequence[ColumnElement[bool]]) -> int:
        change = update(dead_letter).where(*conditions).values(state=PURGED, envelope=b"")
        return await self._store.write(lambda c: c.execute(change).rowcount)

    async def _redrive_all(self, function: str) -> Redriven:
        done = Redriven()
        after = 0
        last = await self._store.read(
            lambda c: c.execute(select(func.max(dead_letter.c.id)).where(dead_letter.c.function == function)).scalar()
        )
        while after < (last or 0):
            page = (
                select(dead_letter.c.id)
                .where(dead_letter.c.function == function, _in_state(HELD))
                .where(dead_letter.c.id > after, dead_letter.c.id <= last)
                .order_by(dead_letter.c.id)
                .limit(BATCH)
            )
            ids = await self._store.read(lambda c, page=page: list(c.execute(page).scalars()))  # type: ignore[misc]
            if not ids:
                break
            done += await self._redrive_some(function, dead_letter.c.id.in_(ids))
            after = ids[-1]
        return done

    async def _redrive_some(self, function: str, which: ColumnElement[bool]) -> Redriven:
        # Marked before published: whoever dies in between leaves a mark that `start` finds.
        mark = (
            update(dead_letter)
            .where(dead_letter.c.function == function, which, _in_state(HELD))
            .values(state=REDRIVING)
            .returning(*dead_letter.columns)
        )
        rows = await self._store.write(lambda c: c.execute(mark).all())
        return await self._publish(sorted(rows, key=lambda row: row.id))

    async def _publish(self, rows: Sequence[Row[Any]]) -> Redriven:
        errors = await asyncio.gather(*(self._publish_one(row) for row in rows))
        sent = [row for row, error in zip(rows, errors, strict=True) if error is None]
        kept = [(row, error) for row, error in zip(rows, errors, strict=True) if error is not None]
        await self._settle([row.id for row in sent], [row.id for row, _ in kept])
        return Redriven(tuple(row.event_id for row in sent), tuple((row.event_id, error) for row, error in kept))

    async def _publish_one(self, row: Row[Any]) -> str | None:
        """None when it was published, else why not."""
        try:
            await self._send(self._event(row))
        except PayloadNotJson as error:
            return str(error)
        except BrokerError as error:
            log.warning("dead letter %s of %s stays: %s", row.event_id, row.function, error)
            return str(error)
        return None

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
        envelope = _opened(row)
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
            _check_payload(envelope.payload)
            return replace(envelope, invoked_arn=envelope.invoked_arn or self._home.function(envelope.function))

    async def _settle(self, sent: Sequence[int], kept: Sequence[int]) -> None:
        def work(connection: Connection) -> None:
            for ids, state in ((sent, REDRIVEN), (kept, HELD)):
                if ids:
                    chosen = and_(dead_letter.c.id.in_(ids), _in_state(REDRIVING))
                    connection.execute(update(dead_letter).where(chosen).values(state=state))

        if sent or kept:
            await self._store.write(work)


def _check_payload(payload: bytes) -> None:
    if len(payload) > limits.ASYNC_PAYLOAD_BYTES:
        raise PayloadTooLarge(f"{len(payload)} bytes are too large for an event (limit {limits.ASYNC_PAYLOAD_BYTES})")
    if not is_json(payload):
        raise PayloadNotJson


def _in_state(state: str) -> ColumnElement[bool]:
    return dead_letter.c.state == state


def _newest(connection: Connection, function: str, event_id: str) -> Row[Any]:
    query = (
        select(dead_letter)
        .where(dead_letter.c.event_id == event_id, dead_letter.c.function == function)
        .order_by(dead_letter.c.redrives.desc())
        .limit(1)
    )
    if (row := connection.execute(query).one_or_none()) is None:
        raise DeadLetterNotFound(
            f"{function} has no dead letter {event_id}: list them with `fnrunner dlq ls {function}`"
        )
    return row


def _opened(row: Row[Any]) -> Envelope:
    return opened(row.event_id, row.function, row.envelope, row.at_ms)


def _summary(row: Row[Any]) -> DeadLetterSummary:
    return DeadLetterSummary(**{name: getattr(row, name) for name in DeadLetterSummary.__slots__})


def _detail(row: Row[Any]) -> DeadLetterDetail:
    envelope = _opened(row)
    return DeadLetterDetail(_summary(row), envelope, original_payload(envelope))
