"""Answer what happened: the story of one event, and what functions wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Table, select

from fnrunner.delivery.dead_letters import DeadLetterSummary
from fnrunner.delivery.record import AcceptedEvent, AttemptRecord, LogChunk
from fnrunner.store.engine import Store
from fnrunner.store.schema import accepted, attempt, dead_letter, log

V = TypeVar("V", AcceptedEvent, AttemptRecord, LogChunk, DeadLetterSummary)

MAX_STORY_LOGS = 1_000


@dataclass(frozen=True, slots=True)
class Story:
    """Everything the books know of one event, each list oldest first. ``logs`` are the newest 1,000 chunks.

    ``accepted`` is None for a synchronous request, and where the accepting process was killed before it wrote the row.
    """

    event_id: str
    accepted: AcceptedEvent | None
    attempts: tuple[AttemptRecord, ...]
    letters: tuple[DeadLetterSummary, ...]
    logs: tuple[LogChunk, ...]

    @property
    def function(self) -> str:
        known = (*((self.accepted,) if self.accepted else ()), *self.attempts, *self.letters, *self.logs)
        return known[0].function if known else ""

    @property
    def state(self) -> str:
        """``succeeded``, the state of its newest dead letter (held, redriving, purged), how a request ended, or
        ``in flight``."""
        outcomes = [a.outcome for a in self.attempts]
        if "succeeded" in outcomes:
            return "succeeded"
        if self.letters and self.letters[-1].state != "redriven":
            return self.letters[-1].state
        if self.attempts and self.attempts[-1].kind == "request":
            return self.attempts[-1].outcome
        return "in flight"

    @property
    def trace_id(self) -> str:
        """The 32 hex digits under which the whole story is in the tracing system; empty when it was not traced."""
        parents = [
            *((self.accepted.traceparent,) if self.accepted else ()),
            *(a.traceparent for a in self.attempts),
            *(letter.traceparent for letter in self.letters),
        ]
        return next((parts[1] for p in parents if len(parts := p.split("-")) == 4), "")


@dataclass(frozen=True, slots=True)
class LogPage:
    """Oldest first. ``cursor`` is for the next page, and for following: it is the same when nothing new has come."""

    chunks: tuple[LogChunk, ...]
    cursor: int


class History:
    """Reads only."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def story(self, event_id: str) -> Story | None:
        """What became of the event or request; None when nobody has heard of it, or it has been pruned."""

        def work(connection: Connection) -> Story:
            took = _all(connection, accepted, AcceptedEvent, event_id)
            logs = select(log).where(log.c.event_id == event_id).order_by(log.c.id.desc()).limit(MAX_STORY_LOGS)
            return Story(
                event_id=event_id,
                accepted=took[0] if took else None,
                attempts=_all(connection, attempt, AttemptRecord, event_id),
                letters=_all(connection, dead_letter, DeadLetterSummary, event_id),
                logs=tuple(_value(LogChunk, row) for row in reversed(connection.execute(logs).all())),
            )

        story = await self._store.read(work)
        return story if story.function else None

    async def logs(
        self,
        function: str,
        *,
        since_ms: int = 0,
        contains: str = "",
        event_id: str = "",
        after: int = 0,
        limit: int = 1_000,
    ) -> LogPage:
        """What the function wrote since then, after the cursor. ``contains`` ignores case; ``event_id`` picks one event."""
        query = select(log).where(log.c.function == function, log.c.at_ms >= since_ms, log.c.id > after)
        if contains:
            query = query.where(log.c.text.icontains(contains, autoescape=True))
        if event_id:
            query = query.where(log.c.event_id == event_id)
        page = query.order_by(log.c.id).limit(limit)
        rows: Sequence[Row[Any]] = await self._store.read(lambda c: c.execute(page).all())
        return LogPage(tuple(_value(LogChunk, row) for row in rows), rows[-1].id if rows else after)

    async def attempts(self, function: str, *, since_ms: int = 0, limit: int = 1_000) -> tuple[AttemptRecord, ...]:
        """The newest runs of the function since then, oldest first: START, END and REPORT lines are made from these."""
        query = (
            select(attempt)
            .where(attempt.c.function == function, attempt.c.ended_ms >= since_ms)
            .order_by(attempt.c.ended_ms.desc(), attempt.c.id.desc())
            .limit(limit)
        )
        rows = await self._store.read(lambda c: c.execute(query).all())
        return tuple(_value(AttemptRecord, row) for row in reversed(rows))


def _all(connection: Connection, table: Table, kind: type[V], event_id: str) -> tuple[V, ...]:
    names = [table.c[f.name] for f in fields(kind)]
    rows = connection.execute(select(*names).where(table.c.event_id == event_id).order_by(table.c.id))
    return tuple(_value(kind, row) for row in rows)


def _value(kind: type[V], row: Row[Any]) -> V:
    return kind(**{f.name: getattr(row, f.name) for f in fields(kind)})
