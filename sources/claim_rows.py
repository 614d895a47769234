"""The rows of claims, and what is done to them in one transaction.

A claim's row says whose it is, ``{"member": id or "", "epoch": n}``; a row of its own has what was stored with it. Whoever
changes a claim replaces exactly the row it has seen, and whoever stores finds the row locked and unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from sources.errors import ClaimLost
from sources.membership import CLAIMS, inserted, now_ms

DOCUMENTS = "claimed"
"""The ``source`` of the rows with what was stored under a claim's name."""

_KEY_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Take:
    """Replace the row that was ``seen`` (None: there was none)."""

    key: str
    seen: str | None
    row: str


@dataclass(frozen=True, slots=True)
class Save:
    """Store the text, if the claim's row is still ``row``."""

    key: str
    row: str
    document: str


@dataclass(frozen=True, slots=True)
class Release:
    """Nobody has it, if its row is still ``row``."""

    key: str
    row: str


Request = Take | Save | Release


class ClaimRows:
    """Statements on the ``checkpoint`` table. Every method runs in the caller's transaction."""

    def __init__(self, checkpoint: Table) -> None:
        self._table = checkpoint

    def apply(self, connection: Connection, requests: Sequence[Request]) -> Sequence[Any]:
        """For a Take or Release whether it was done, for a Save None or ClaimLost.

        Saves go first: what releases a claim was asked for after what was saved with it.
        """
        saved = iter(self._save(connection, [request for request in requests if isinstance(request, Save)]))
        released = iter([self._release(connection, request) for request in requests if isinstance(request, Release)])
        taken = iter(self._take(connection, [request for request in requests if isinstance(request, Take)]))
        results = {Save: saved, Release: released, Take: taken}
        return [next(results[type(request)]) for request in requests]

    def load(self, connection: Connection, key: str) -> str | None:
        query = select(self._table.c.document).where(*self._at(DOCUMENTS, key))
        return connection.execute(query).scalar_one_or_none()

    def put(self, connection: Connection, key: str, text: str) -> None:
        if not inserted(connection, self._table, _row(DOCUMENTS, key, text)):
            there = update(self._table).where(*self._at(DOCUMENTS, key))
            connection.execute(there.values(document=text, updated_ms=now_ms()))

    def forget(self, connection: Connection, prefix: str) -> None:
        table = self._table
        begins = func.substr(table.c.key, 1, len(prefix)) == prefix  # LIKE is blind to case on SQLite
        connection.execute(delete(table).where(table.c.source.in_([CLAIMS, DOCUMENTS]), begins))

    def _at(self, source: str, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return (self._table.c.source == source, self._table.c.key == key)

    def _save(self, connection: Connection, saves: Sequence[Save]) -> Sequence[ClaimLost | None]:
        if not saves:
            return []
        table = self._table
        # Locked in one order by everybody; who takes a claim over waits until this is committed, or has been first.
        query = (
            select(table.c.key, table.c.document)
            .where(table.c.source == CLAIMS, table.c.key.in_({save.key for save in saves}))
            .order_by(table.c.key)
            .with_for_update()
        )
        rows: dict[str, str] = {key: row for key, row in connection.execute(query)}  # noqa: C416
        ours = [save for save in saves if rows.get(save.key) == save.row]
        if ours:
            statement = (
                update(table)
                .where(table.c.source == DOCUMENTS, table.c.key == bindparam("k"))
                .values(document=bindparam("d"), updated_ms=bindparam("t"))
            )
            now = now_ms()
            connection.execute(statement, [{"k": save.key, "d": save.document, "t": now} for save in ours])
        return [None if rows.get(save.key) == save.row else ClaimLost() for save in saves]

    def _release(self, connection: Connection, request: Release) -> bool:
        return self._replaced(connection, request.key, request.row, row_of("", read_row(request.row)[1]))

    def _take(self, connection: Connection, takes: Sequence[Take]) -> Sequence[bool]:
        new = [_row(CLAIMS, take.key, take.row) for take in takes if take.seen is None]
        made = self._inserted(connection, CLAIMS, new)
        done = [
            (take.key, take.row) in made
            if take.seen is None
            else self._replaced(connection, take.key, take.seen, take.row)
            for take in takes
        ]
        keys = [take.key for take, ours in zip(takes, done, strict=True) if ours]
        self._inserted(connection, DOCUMENTS, [_row(DOCUMENTS, key, "{}") for key in keys])
        return done

    def _replaced(self, connection: Connection, key: str, seen: str, row: str) -> bool:
        there = update(self._table).where(*self._at(CLAIMS, key), self._table.c.document == seen)
        return connection.execute(there.values(document=row, updated_ms=now_ms())).rowcount == 1

    def _inserted(
        self, connection: Connection, source: str, rows: Sequence[Mapping[str, Any]]
    ) -> Collection[tuple[str, str]]:
        """The keys and documents of those rows that were not there before, and are now."""
        if not rows:
            return set()
        table, keys = self._table, [row["key"] for row in rows]
        query = select(table.c.key).where(table.c.source == source, table.c.key.in_(keys))
        there = set(connection.execute(query).scalars())
        missing = [row for row in rows if row["key"] not in there]
        try:
            with connection.begin_nested():
                if missing:
                    connection.execute(insert(table), missing)
        except IntegrityError:  # somebody was quicker with one of them
            missing = [row for row in missing if inserted(connection, table, row)]
        return {(row["key"], row["document"]) for row in missing}


def key_of(name: str) -> str:
    """The name as a row's key: a long one by its beginning and its hash.

    >>> key_of("esm:1:shard"), len(key_of("x" * 1000))
    ('esm:1:shard', 255)
    """
    if len(name) <= _KEY_LENGTH:
        return name
    return name[: _KEY_LENGTH - 33] + "#" + sha256(name.encode()).hexdigest()[:32]


def row_of(member: str, epoch: int) -> str:
    return json.dumps({"member": member, "epoch": epoch})


def read_row(row: str | None) -> tuple[str, int]:
    """The member that a claim's row names, empty for nobody, and the epoch."""
    if row is None:
        return "", 0
    known = json.loads(row)
    return known["member"], known["epoch"]


def _row(source: str, key: str, text: str) -> Mapping[str, Any]:
    return {"source": source, "key": key, "document": text, "updated_ms": now_ms()}
