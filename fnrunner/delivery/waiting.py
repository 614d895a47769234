"""The oldest event of a function that has yet to be dealt with, looked for in small steps.

Events that were tried once need not be looked at again, so a *mark* moves along the accepted events: of those before it none
is untried. Each step looks at a bounded number of rows behind the mark, by the index over function and time.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, FromClause, and_, case, exists, func, select

from fnrunner.delivery.books import unindexed
from fnrunner.store.schema import accepted, attempt, dead_letter

STEP = 1_000
"""So many events are looked at in one step."""

FARTHEST = 200_000
"""So far back, in events, the first mark is looked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """``oldest_ms`` is when the oldest untried event behind the mark was accepted; None: there is none up to ``mark_ms``.
    ``complete``: there is nothing behind the new mark to look at."""

    mark_ms: int
    oldest_ms: int | None
    complete: bool


def first_mark(connection: Connection, function: str, backlog: int) -> int:
    """Where to begin when nothing is known: before the newest events, twice as many as there are to deal with.

    Queues are first in, first out, so what is older has been tried, or runs just now.
    """
    skipped = min(FARTHEST, 2 * backlog + STEP)
    newest_first = select(accepted.c.at_ms).where(accepted.c.function == function).order_by(accepted.c.at_ms.desc())
    return connection.execute(newest_first.offset(skipped).limit(1)).scalar() or 0


def step(connection: Connection, function: str, mark_ms: int, most: int = STEP) -> Found:
    """Look at the next events from ``mark_ms`` on."""
    behind = (
        select(accepted.c.event_id, accepted.c.function, accepted.c.at_ms)
        .where(accepted.c.function == function, accepted.c.at_ms >= mark_ms)
        .order_by(accepted.c.at_ms)
        .limit(most)
        .subquery()
    )
    waits_since = case((~_tried(behind) & ~_given_up(behind), behind.c.at_ms))
    oldest, last, count = connection.execute(
        select(func.min(waits_since), func.max(behind.c.at_ms), func.count()).select_from(behind)
    ).one()
    if oldest is not None:
        return Found(oldest, oldest, complete=False)
    if count < most:
        return Found(mark_ms if last is None else last, None, complete=True)
    # a whole step within one millisecond must not hold the mark
    return Found(last if last > mark_ms else last + 1, None, complete=False)


def untried(connection: Connection, function: str, since_ms: int, until_ms: int, most: int = STEP) -> list[int]:
    """When the untried events in this span were accepted, among the first so many events of it."""
    span = (
        select(accepted.c.event_id, accepted.c.function, accepted.c.at_ms)
        .where(accepted.c.function == function, accepted.c.at_ms >= since_ms, accepted.c.at_ms < until_ms)
        .order_by(accepted.c.at_ms)
        .limit(most)
        .subquery()
    )
    query = select(span.c.at_ms).where(~_tried(span), ~_given_up(span)).order_by(span.c.at_ms)
    return list(connection.execute(query).scalars())


def oldest_retried(connection: Connection, function: str, most: int = STEP) -> int | None:
    """When the oldest event was accepted that failed and is to run again, among the function's newest attempts."""
    newest = (
        select(attempt.c.event_id, attempt.c.function, attempt.c.number, attempt.c.kind, attempt.c.retry_in_ms)
        .where(attempt.c.function == function)
        .order_by(attempt.c.ended_ms.desc())
        .limit(most)
        .subquery()
    )
    later = attempt.alias("later")
    ran_since = exists().where(
        later.c.event_id == newest.c.event_id,
        unindexed(later.c.function) == newest.c.function,
        later.c.number > newest.c.number,
    )
    query = (
        select(func.min(accepted.c.at_ms))
        .select_from(newest)
        .join(accepted, and_(accepted.c.event_id == newest.c.event_id, accepted.c.function == newest.c.function))
        .where(newest.c.kind == "event", newest.c.retry_in_ms.is_not(None), ~ran_since, ~_given_up(newest))
    )
    return connection.execute(query).scalar()


def _tried(event: FromClause) -> ColumnElement[bool]:
    return exists().where(
        attempt.c.event_id == event.c.event_id,
        unindexed(attempt.c.function) == event.c.function,
        attempt.c.kind == "event",
    )


def _given_up(event: FromClause) -> ColumnElement[bool]:
    return exists().where(dead_letter.c.event_id == event.c.event_id, dead_letter.c.function == event.c.function)
