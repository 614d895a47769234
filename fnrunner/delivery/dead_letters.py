"""Work with filed dead letters: list, show, edit, redrive, purge.

States: ``held`` (someone should look), ``redriving`` (see :mod:`~fnrunner.delivery.redrive`), ``redriven``, ``purged``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, update

from broker.broker import Broker
from broker.envelope import Envelope, encode
from fnrunner.delivery.errors import DeadLetterNotFound, DeadLetterNotHeld, MarkerInvalid
from fnrunner.delivery.letter import DESTINATION_ERRORS, ORIGINAL_PAYLOAD, opened, original_payload
from fnrunner.delivery.redrive import BATCH, EDITED, HELD, PURGED, REDRIVING, Redriven, Redriver, check_payload
from fnrunner.model.arn import Home
from fnrunner.store.engine import Store
from fnrunner.store.schema import dead_letter
from fnrunner.telemetry.tracing import Tracing, Untraced


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


_SUMMARY = [dead_letter.c[name] for name in DeadLetterSummary.__slots__]


class DeadLetters:
    """``clock`` gives epoch milliseconds."""

    def __init__(
        self, store: Store, broker: Broker, home: Home, *, clock: Callable[[], int], tracing: Tracing | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._redriver = Redriver(store, broker, home, tracing or Untraced(), clock=clock)

    async def start(self) -> None:
        """Finish redrives that a dying process began, now and whenever some are found. A second start is harmless."""
        self._redriver.start()

    async def close(self) -> None:
        """Idempotent."""
        await self._redriver.close()

    async def finish(self) -> int:
        """Finish half-done redrives whose mark is old; how many. They may have been published already.

        Raises StoreError; what a broker that is away does not take is found again later.
        """
        return await self._redriver.finish()

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
        check_payload(payload)
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

        Raises StoreError; what was not published by then is finished by ``finish``.
        """
        if event_ids is None:
            return await self._redrive_all(function)
        done = Redriven()
        wanted = list(dict.fromkeys(event_ids))
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            done += await self._redrive_some(function, dead_letter.c.event_id.in_(part))
            done += await self._left_out(function, part, done)
        return done

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

    async def _redrive_some(self, function: str, which: ColumnElement[bool]) -> Redriven:
        return await self._redriver.redrive(and_(dead_letter.c.function == function, which))

    async def _left_out(self, function: str, wanted: Sequence[str], done: Redriven) -> Redriven:
        """What to say of the ids of which no letter was held: it is being redriven already, or there is none."""
        known = {*done.event_ids, *(event_id for event_id, _ in (*done.refused, *done.pending))}
        if not (others := [event_id for event_id in wanted if event_id not in known]):
            return Redriven()
        query = select(dead_letter.c.event_id).where(
            dead_letter.c.function == function, dead_letter.c.event_id.in_(others), _in_state(REDRIVING)
        )
        under_way = set(await self._store.read(lambda c: c.execute(query).scalars().all()))
        return Redriven(
            refused=tuple((i, str(DeadLetterNotFound())) for i in others if i not in under_way),
            pending=tuple((i, "It is being redriven already.") for i in others if i in under_way),
        )

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
