"""Forget what is old, and keep the audit balanced: finished events are folded into totals before their rows go.

Held dead letters never go, nor do events that are outstanding: somebody has yet to look at them. Each batch is one short
transaction, so that the ledger hardly waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, func, select, update

from fnrunner.delivery import books
from fnrunner.delivery.books import SUCCEEDED, Totals
from fnrunner.store.engine import Store
from fnrunner.store.schema import accepted, attempt, dead_letter, log, settled_total

BATCH = 500

Batch = Callable[[Connection, str, int], int]


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many finished events were folded away, and how many requests and log chunks were dropped."""

    events: int = 0
    requests: int = 0
    logs: int = 0


class Retention:
    """Use one at a time; two at once are harmless."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def prune(self, before_ms: int) -> Pruned:
        """Forget finished events, requests and logs older than this. Raises StoreError; what was done stays done."""
        events = await self._repeat(self._fold_succeeded, attempt, before_ms)
        events += await self._repeat(self._fold_purged, dead_letter, before_ms)
        requests = await self._repeat(_drop_requests, attempt, before_ms)
        logs = await self._repeat(_drop_logs, log, before_ms)
        return Pruned(events, requests, logs)

    async def _repeat(self, batch: Batch, table: Table, before_ms: int) -> int:
        done = 0
        for function in await self._store.read(lambda c: books.distinct_functions(c, table)):
            while count := await self._store.write(lambda c, f=function: batch(c, f, before_ms)):  # type: ignore[misc]
                done += count
        return done

    def _fold_succeeded(self, connection: Connection, function: str, before_ms: int) -> int:
        query = (
            select(attempt.c.event_id)
            .where(attempt.c.function == function, SUCCEEDED, attempt.c.ended_ms < before_ms)
            .where(~_is_worked_with(attempt), ~_ran_since(attempt, before_ms))
            .distinct()
            .limit(BATCH)
        )
        ids = list(connection.execute(query).scalars())
        if ids:
            runs = connection.execute(
                select(func.count()).where(attempt.c.function == function, attempt.c.event_id.in_(ids), SUCCEEDED)
            ).scalar_one()
            self._fold(connection, function, Totals(succeeded=len(ids), duplicates=runs - len(ids)), ids)
        return len(ids)

    def _fold_purged(self, connection: Connection, function: str, before_ms: int) -> int:
        query = (
            select(dead_letter.c.event_id, dead_letter.c.reason)
            .where(dead_letter.c.function == function, dead_letter.c.state == "purged", dead_letter.c.at_ms < before_ms)
            .where(~books.has_newer(dead_letter), ~books.has_succeeded(dead_letter))
            .where(~_is_worked_with(dead_letter), ~_ran_since(dead_letter, before_ms))
            .limit(BATCH)
        )
        rows = connection.execute(query).all()
        if rows:
            totals = sum((books.given_up(row.reason, 1) for row in rows), books.NOTHING)
            self._fold(connection, function, totals, [row.event_id for row in rows])
        return len(rows)

    def _fold(self, connection: Connection, function: str, totals: Totals, ids: Sequence[str]) -> None:
        """Count the events and delete their rows, in the caller's transaction."""
        counts = {name: getattr(totals, name) for name in ("succeeded", "dead_lettered", "expired", "duplicates")}
        zero = self._store.insert_or_ignore(settled_total).values(function=function, **dict.fromkeys(counts, 0))
        connection.execute(zero)
        connection.execute(
            update(settled_total)
            .where(settled_total.c.function == function)
            .values({name: settled_total.c[name] + count for name, count in counts.items()})
        )
        for table in (accepted, attempt, dead_letter, log):
            connection.execute(delete(table).where(table.c.event_id.in_(ids), table.c.function == function))


def _is_worked_with(event: Table) -> ColumnElement[bool]:
    """Whether the event in this row has a dead letter that somebody has yet to look at."""
    letter = dead_letter.alias("open_letter")
    return exists().where(
        letter.c.event_id == event.c.event_id,
        letter.c.function == event.c.function,
        letter.c.state.in_(("held", "redriving")),
    )


def _ran_since(event: Table, before_ms: int) -> ColumnElement[bool]:
    """Whether the event in this row ran later, so that its story may not be over."""
    later = attempt.alias("later")
    return exists().where(
        later.c.event_id == event.c.event_id,
        books.unindexed(later.c.function) == event.c.function,
        later.c.ended_ms >= before_ms,
    )


def _drop_requests(connection: Connection, function: str, before_ms: int) -> int:
    old = and_(attempt.c.function == function, attempt.c.kind == "request", attempt.c.ended_ms < before_ms)
    some = select(attempt.c.id).where(old).limit(BATCH)
    return connection.execute(delete(attempt).where(attempt.c.id.in_(some))).rowcount


def _drop_logs(connection: Connection, function: str, before_ms: int) -> int:
    some = select(log.c.id).where(log.c.function == function, log.c.at_ms < before_ms).limit(BATCH)
    return connection.execute(delete(log).where(log.c.id.in_(some))).rowcount
