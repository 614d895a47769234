"""One piece of work in one transaction, repeatable: it takes effect once however often the connection is lost.

A commit whose answer never came may have been applied. So on PostgreSQL every transaction that writes leaves its mark: the row
of its writer, whose last transaction that is. The next try looks for the mark before it does anything. Only while the lost
session still lives can that not be told; PostgreSQL knows by the transaction's id (``pg_xact_status``). The id alone would
not do: a server that is killed forgets ids that it had given out and written nothing of, and gives them to others.

SQLite has no such doubt: its commit is a call that returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, StatementError

from fnrunner.store.errors import StoreDoubtful, StoreError
from fnrunner.store.faults import DATABASE_ERRORS, translate
from fnrunner.store.sealing import CannotOpen

T = TypeVar("T")

_MARK = text(
    "INSERT INTO write_mark (writer, attempt, at_ms) SELECT :writer, :attempt, :at_ms "
    "WHERE pg_current_xact_id_if_assigned() IS NOT NULL "
    "ON CONFLICT (writer) DO UPDATE SET attempt = excluded.attempt, at_ms = excluded.at_ms "
    "RETURNING pg_current_xact_id()::text"
)
_IS_MARKED = text("SELECT 1 FROM write_mark WHERE writer = :writer AND attempt = :attempt")
_HOW_IT_ENDED = text("SELECT pg_xact_status(CAST(:id AS xid8))")


@dataclass(frozen=True, slots=True)
class _Doubt(Generic[T]):
    """A commit that may have been applied, and what the work returned."""

    attempt: str
    transaction_id: str
    result: T


class Attempt(Generic[T]):
    """``run`` may be called again after a transient StoreError."""

    def __init__(self, work: Callable[[Connection], T], writer: str = "") -> None:
        """``writer`` is whose transactions follow one another; without it the work only reads."""
        self._work = work
        self._writer = writer
        self._doubt: _Doubt[T] | None = None

    def run(self, engine: Engine) -> T:
        """Blocking: begin, work, commit. Raises what the work raises, and StoreError for each error of the database."""
        try:
            with engine.connect() as connection:
                if self._doubt is not None and self._was_committed(connection, self._doubt):
                    return self._doubt.result
                self._doubt = None
                return self._transact(connection)
        except StatementError as error:
            if isinstance(error.orig, CannotOpen):
                raise error.orig from error
            if not isinstance(error, DATABASE_ERRORS):
                raise
            fault = translate(error)
            if self._doubt is not None:
                raise StoreDoubtful(transient=fault.transient, lost=fault.lost) from error
            raise fault from error
        except DATABASE_ERRORS as error:
            fault = translate(error)
            if self._doubt is not None:
                raise StoreDoubtful(transient=fault.transient, lost=fault.lost) from error
            raise fault from error

    def _transact(self, connection: Connection) -> T:
        transaction = connection.begin()
        attempt = uuid4().hex
        try:
            result = self._work(connection)
            transaction_id = self._mark(connection, attempt)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except DATABASE_ERRORS as error:
            if transaction_id and translate(error).lost:
                self._doubt = _Doubt(attempt, transaction_id, result)
            raise
        return result

    def _mark(self, connection: Connection, attempt: str) -> str | None:
        """The id of the transaction; None where nothing was written, and on SQLite."""
        if not self._writer or connection.dialect.name != "postgresql":
            return None
        values = {"writer": self._writer, "attempt": attempt, "at_ms": int(time.time() * 1000)}
        found: str | None = connection.execute(_MARK, values).scalar()
        return found

    def _was_committed(self, connection: Connection, doubt: _Doubt[T]) -> bool:
        """Raises StoreError, transient while the lost session still lives on the server."""
        # in this order: it may end in between
        lives = self._lives(connection, doubt.transaction_id)
        marked = connection.execute(_IS_MARKED, {"writer": self._writer, "attempt": doubt.attempt}).scalar()
        connection.rollback()
        if lives and not marked:
            raise StoreError(transient=True)
        return bool(marked)

    @staticmethod
    def _lives(connection: Connection, transaction_id: str) -> bool:
        try:
            status = connection.execute(_HOW_IT_ENDED, {"id": transaction_id}).scalar()
        except DataError:
            status = None  # "is in the future": the server was killed before it had written anything of it
        finally:
            connection.rollback()
        return status == "in progress"
