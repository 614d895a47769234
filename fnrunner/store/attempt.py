"""One piece of work in one transaction, repeatable: it takes effect once however often the connection is lost.

A commit whose answer never came may have been applied. PostgreSQL remembers how a transaction ended, so the next try
asks for that before it does anything (``pg_xact_status``). SQLite has no such doubt: its commit is a call that returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError

from fnrunner.store.errors import StoreDoubtful, StoreError
from fnrunner.store.faults import DATABASE_ERRORS, translate

T = TypeVar("T")

_OUR_TRANSACTION = text("SELECT pg_current_xact_id_if_assigned()::text")
_HOW_IT_ENDED = text("SELECT pg_xact_status(CAST(:id AS xid8))")


@dataclass(frozen=True, slots=True)
class _Doubt(Generic[T]):
    """A commit that may have been applied, and what the work returned."""

    transaction_id: str
    result: T


class Attempt(Generic[T]):
    """``run`` may be called again after a transient StoreError."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self._work = work
        self._doubt: _Doubt[T] | None = None

    def run(self, engine: Engine) -> T:
        """Blocking: begin, work, commit. Raises what the work raises, and StoreError for each error of the database."""
        try:
            with engine.connect() as connection:
                if self._doubt is not None and self._was_committed(connection, self._doubt.transaction_id):
                    return self._doubt.result
                self._doubt = None
                return self._transact(connection)
        except DATABASE_ERRORS as error:
            fault = translate(error)
            if self._doubt is not None:
                raise StoreDoubtful(transient=fault.transient, lost=fault.lost) from error
            raise fault from error

    def _transact(self, connection: Connection) -> T:
        transaction = connection.begin()
        try:
            result = self._work(connection)
            transaction_id = self._identify(connection)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except DATABASE_ERRORS as error:
            if transaction_id and translate(error).lost:
                self._doubt = _Doubt(transaction_id, result)
            raise
        return result

    @staticmethod
    def _identify(connection: Connection) -> str | None:
        """None where nothing was written, and on SQLite."""
        if connection.dialect.name != "postgresql":
            return None
        found: str | None = connection.execute(_OUR_TRANSACTION).scalar()
        return found

    @staticmethod
    def _was_committed(connection: Connection, transaction_id: str) -> bool:
        """Raises StoreError, transient while the lost session still lives on the server."""
        try:
            status = connection.execute(_HOW_IT_ENDED, {"id": transaction_id}).scalar()
        except DataError:
            return False  # "is in the future": the server was killed before it had written anything of it down
        finally:
            connection.rollback()
        if status == "committed":
            return True
        if status == "aborted":
            return False
        raise StoreDoubtful(transient=status is not None) if status is None else StoreError(transient=True)
