"""The queries that count events by how they ended: shared by the audit and by pruning, so that both agree.

An event is a function and an event id. *Succeeded*: it has a succeeded attempt. *Given up*: it has not, and its newest dead
letter (most redrives) is not ``redriven``. *Outstanding*: neither, but it was accepted or redriven.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    distinct,
    exists,
    func,
    select,
    union_all,
)

from fnrunner.delivery.retry import Reason
from fnrunner.store.schema import accepted, attempt, dead_letter, settled_total

REDRIVEN = "redriven"
SUCCEEDED = and_(attempt.c.kind == "event", attempt.c.outcome == "succeeded")


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of one function's events, what was pruned included."""

    succeeded: int = 0
    dead_lettered: int = 0
    expired: int = 0
    duplicates: int = 0
    outstanding: int = 0

    @property
    def final(self) -> int:
        return self.succeeded + self.dead_lettered + self.expired

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.succeeded + other.succeeded,
            self.dead_lettered + other.dead_lettered,
            self.expired + other.expired,
            self.duplicates + other.duplicates,
            self.outstanding + other.outstanding,
        )


NOTHING = Totals()


def functions(connection: Connection) -> list[str]:
    """Every function that the books know."""
    tables: Iterable[FromClause] = (accepted, attempt, dead_letter, settled_total)
    names: set[str] = set()
    for table in tables:
        names |= distinct_functions(connection, table)
    return sorted(names)


def totals(connection: Connection, function: str | None = None) -> dict[str, Totals]:
    """The counts of every function that has any, or of one."""
    found: dict[str, Totals] = {}
    for name, part in (
        *_settled(connection, function),
        *_succeeded(connection, function),
        *_given_up(connection, function),
        *_outstanding(connection, function),
    ):
        found[name] = found.get(name, NOTHING) + part
    return found


def outstanding_events(function: str | None) -> Select[tuple[str, str, int]]:
    """Function, event id and when it was accepted or given up, of every outstanding event; may repeat an event."""
    of_accepted = select(accepted.c.function, accepted.c.event_id, accepted.c.at_ms).where(
        ~has_succeeded(accepted), ~is_given_up(accepted), *_of(accepted, function)
    )
    of_redriven = select(dead_letter.c.function, dead_letter.c.event_id, dead_letter.c.at_ms).where(
        dead_letter.c.state == REDRIVEN,
        ~has_newer(dead_letter),
        ~has_succeeded(dead_letter),
        *_of(dead_letter, function),
    )
    both = union_all(of_accepted, of_redriven).subquery()
    return select(both.c.function, both.c.event_id, both.c.at_ms)


def has_succeeded(event: FromClause) -> ColumnElement[bool]:
    """Whether the event in this row (``event_id``, ``function``) has a succeeded attempt."""
    return exists().where(
        attempt.c.event_id == event.c.event_id, unindexed(attempt.c.function) == event.c.function, SUCCEEDED
    )


def unindexed(column: ColumnElement[str]) -> ColumnElement[str]:
    """The column as an expression that no index serves.

    SQLite otherwise looks an event up by its function, whose rows are nearly the whole table, instead of by its id.
    """
    return column.concat("")


def has_newer(letter: FromClause) -> ColumnElement[bool]:
    """Whether this dead letter's event has one with more redrives."""
    newer = dead_letter.alias("newer")
    return exists().where(
        newer.c.event_id == letter.c.event_id,
        newer.c.function == letter.c.function,
        newer.c.redrives > letter.c.redrives,
    )


def is_given_up(event: FromClause) -> ColumnElement[bool]:
    """Whether the newest dead letter of the event in this row has not been redriven."""
    letter = dead_letter.alias("letter")
    return exists().where(
        letter.c.event_id == event.c.event_id,
        letter.c.function == event.c.function,
        letter.c.state != REDRIVEN,
        ~has_newer(letter),
    )


def retries_pending(function: str, since_ms: int) -> Select[tuple[str]]:
    """Ids of events whose retry is due after ``since_ms``."""
    return select(attempt.c.event_id).where(
        attempt.c.function == function,
        attempt.c.kind == "event",
        attempt.c.retry_in_ms.is_not(None),
        attempt.c.ended_ms + attempt.c.retry_in_ms >= since_ms,
    )


def _settled(connection: Connection, function: str | None) -> list[tuple[str, Totals]]:
    rows = connection.execute(select(settled_total).where(*_of(settled_total, function)))
    return [(r.function, Totals(r.succeeded, r.dead_lettered, r.expired, r.duplicates)) for r in rows]


def _succeeded(connection: Connection, function: str | None) -> list[tuple[str, Totals]]:
    each = (
        select(attempt.c.function, attempt.c.event_id, func.count().label("runs"))
        .where(SUCCEEDED, *_of(attempt, function))
        .group_by(attempt.c.event_id, attempt.c.function)
        .subquery()
    )
    query = select(each.c.function, func.sum(each.c.runs).label("runs"), func.count().label("events"))
    rows = connection.execute(query.group_by(each.c.function))
    return [(row.function, Totals(succeeded=row.events, duplicates=int(row.runs) - row.events)) for row in rows]


def _given_up(connection: Connection, function: str | None) -> list[tuple[str, Totals]]:
    query = (
        select(dead_letter.c.function, dead_letter.c.reason, func.count().label("events"))
        .where(
            dead_letter.c.state != REDRIVEN,
            ~has_newer(dead_letter),
            ~has_succeeded(dead_letter),
            *_of(dead_letter, function),
        )
        .group_by(dead_letter.c.function, dead_letter.c.reason)
    )
    return [(row.function, given_up(row.reason, row.events)) for row in connection.execute(query)]


def given_up(reason: str, events: int) -> Totals:
    """What so many events given up for ``reason`` count as."""
    expired = reason == Reason.EVENT_AGE_EXCEEDED.value
    return Totals(expired=events) if expired else Totals(dead_lettered=events)


def _outstanding(connection: Connection, function: str | None) -> list[tuple[str, Totals]]:
    events = outstanding_events(function).subquery()
    query = select(events.c.function, func.count(distinct(events.c.event_id)).label("events")).group_by(
        events.c.function
    )
    return [(row.function, Totals(outstanding=row.events)) for row in connection.execute(query)]


def _of(table: FromClause, function: str | None) -> list[ColumnElement[bool]]:
    return [] if function is None else [table.c.function == function]


def distinct_functions(connection: Connection, table: FromClause) -> set[str]:
    """By hopping from one name to the next along the index: reads as many entries as there are names."""
    names: set[str] = set()
    last = ""
    while (
        name := connection.execute(select(func.min(table.c.function)).where(table.c.function > last)).scalar()
    ) is not None:
        names.add(name)
        last = name
    return names
