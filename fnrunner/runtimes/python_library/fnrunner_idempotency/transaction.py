"""A user's own connection, as the transactional form needs it: begun, undone and ended, with the record inside."""

from __future__ import annotations

import contextlib
import sqlite3
import sys

from . import postgres, sqlite
from .errors import IdempotencyConfigurationError, IdempotencyTransactionError
from .record import Claim, Record
from .statements import PURGED_AT_ONCE, Statements
from .store import as_record, claim_parameters, now_ms

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Transaction(Protocol):
        """``begin``, then what is to be done, then ``end`` or ``undo``. Driver errors are raised within ``translated``."""

        statements: Statements

        def translated(self) -> contextlib.AbstractContextManager[None]: ...

        def begin(self, wait_s: float | None, commit: bool) -> None:
            """Raises IdempotencyTransactionError when the connection cannot."""

        def claimed(self, claim: Claim, wait_s: float | None) -> bool:
            """Whether the complete record of ``claim`` is in the transaction now."""

        def changed(self, statement: str, parameters: Mapping[str, Any]) -> int: ...

        def found(self, claim: Claim) -> Record | None: ...

        def purge(self) -> None:
            """Remove some expired records with the transaction, if that is possible without harm to it."""

        def end(self) -> None:
            """Commit, or hand over to the transaction around it."""

        def undo(self, error: BaseException) -> None:
            """Roll back what was done since ``begin``. Raises nothing."""


OPEN = (
    "the connection has a transaction open, whose earlier work would be committed or lost with the effect. Commit or roll it "
    "back first, or pass commit=False and commit yourself"
)
OPEN_SQLITE = "; a connection with autocommit=False always has one"
OPEN_POSTGRES = "; without autocommit, psycopg begins one with the first statement, a SELECT as well"
AUTOCOMMIT = (
    "commit=False needs a transaction that you commit, and this connection commits each statement by itself. Begin one first, "
    "or leave commit=False out"
)
ENDED = (
    "the transaction ended inside the block, so that effect and record may not have been committed together. Do not commit, "
    "roll back, close the connection or call executescript() inside"
)


def transaction_on(connection: Any, table: str) -> Transaction:
    """Raises IdempotencyConfigurationError for what is no connection of sqlite3 or psycopg 3."""
    if isinstance(connection, sqlite3.Connection):
        return SQLiteTransaction(connection, table)
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(connection, psycopg.Connection):
        return PostgresTransaction(connection, table)
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    raise IdempotencyConfigurationError(
        f"once() takes a sqlite3.Connection or a psycopg.Connection (psycopg 3, not async), not a {kind}. "
        "Of an ORM, pass the connection of the driver below it"
    )


class SQLiteTransaction:
    """On a SQLite connection in any of its transaction modes. A savepoint tells whether the transaction is still the same."""

    SAVEPOINT = "fnrunner_idempotency_once"

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        self.statements = Statements(table, postgres=False)
        self._connection = connection
        # the user's row factory is not asked
        self._cursor = connection.cursor()
        self._cursor.row_factory = None
        self._began = self._commits = self._saved = False
        self._path = ""

    def translated(self) -> contextlib.AbstractContextManager[None]:
        return sqlite.translated(self._path or "the SQLite database")

    def begin(self, wait_s: float | None, commit: bool) -> None:
        inside = self._connection.in_transaction
        if commit and inside:
            raise IdempotencyTransactionError(OPEN + OPEN_SQLITE)
        if not commit and not inside and getattr(self._connection, "autocommit", None) is True:
            raise IdempotencyTransactionError(AUTOCOMMIT)
        self._commits = commit
        self._path = str(self._row("PRAGMA database_list")[2])
        if not inside:
            self._begin(wait_s)
        self._cursor.execute(f"SAVEPOINT {self.SAVEPOINT}")
        self._saved = True
        sqlite.make_table(self._cursor, self.statements)

    def _begin(self, wait_s: float | None) -> None:
        """The writer's lock is taken at once: a duplicate waits here, and then finds the record."""
        before = int(self._row("PRAGMA busy_timeout")[0])
        if wait_s is not None:
            self._cursor.execute(f"PRAGMA busy_timeout = {max(10, int(wait_s * 1000))}")
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
        finally:
            self._cursor.execute(f"PRAGMA busy_timeout = {before}")
        self._began = True

    def claimed(self, claim: Claim, wait_s: float | None) -> bool:
        return self.changed(self.statements.claim, claim_parameters(claim, completed=True)) == 1

    def changed(self, statement: str, parameters: Mapping[str, Any]) -> int:
        return self._cursor.execute(statement, {**parameters, "now": now_ms()}).rowcount

    def found(self, claim: Claim) -> Record | None:
        parameters = {"scope": claim.scope, "key": claim.key, "now": now_ms()}
        return as_record(self._row(self.statements.find, parameters))

    def purge(self) -> None:
        self.changed(self.statements.purge, {"most": PURGED_AT_ONCE})

    def end(self) -> None:
        try:
            self._cursor.execute(f"RELEASE {self.SAVEPOINT}")
        except sqlite3.OperationalError as error:
            if "no such savepoint" in str(error):
                raise IdempotencyTransactionError(ENDED) from error
            raise
        self._saved = False
        if self._commits:
            self._cursor.execute("COMMIT")

    def undo(self, error: BaseException) -> None:
        # what SQLite has rolled back by itself already is no error here
        with contextlib.suppress(sqlite3.Error):
            if self._saved and not self._began:
                self._cursor.execute(f"ROLLBACK TO {self.SAVEPOINT}")
                self._cursor.execute(f"RELEASE {self.SAVEPOINT}")
        with contextlib.suppress(sqlite3.Error):
            if self._began and self._connection.in_transaction:
                self._cursor.execute("ROLLBACK")

    def _row(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return self._cursor.execute(statement, parameters or {}).fetchone()


class PostgresTransaction:
    """On a connection of psycopg 3, whose ``transaction()`` is a savepoint inside of another."""

    def __init__(self, connection: Any, table: str) -> None:
        self.statements = Statements(table, postgres=True)
        self._psycopg = sys.modules["psycopg"]
        self._connection = connection
        self._block: Any = None

    def translated(self) -> contextlib.AbstractContextManager[None]:
        return postgres.translated(self._psycopg)

    def begin(self, wait_s: float | None, commit: bool) -> None:
        states, connection = self._psycopg.pq.TransactionStatus, self._connection
        state = connection.info.transaction_status
        if connection.pgconn.pipeline_status:
            raise IdempotencyTransactionError("the connection is in pipeline mode. Leave it first")
        if state == states.INERROR:
            raise IdempotencyTransactionError("the connection's transaction has failed. Roll it back first")
        if commit and state not in (states.IDLE, states.UNKNOWN):
            raise IdempotencyTransactionError(OPEN + OPEN_POSTGRES)
        if not commit and state == states.IDLE:
            if connection.autocommit:
                raise IdempotencyTransactionError(AUTOCOMMIT)
            connection.execute("SELECT")  # begins the transaction that the user commits
        block = connection.transaction()
        block.__enter__()
        self._block = block
        postgres.make_table(self._cursor(), self.statements)

    def claimed(self, claim: Claim, wait_s: float | None) -> bool:
        cursor = self._cursor()
        if wait_s is None:
            return self._claimed(claim)
        before = cursor.execute("SELECT current_setting('lock_timeout')").fetchone()[0]
        # zero would be no limit at all
        postgres.limit(cursor, "lock_timeout", max(0.01, wait_s))
        claimed = self._claimed(claim)
        # the statements of the block wait as they did
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", (before,))
        return claimed

    def _claimed(self, claim: Claim) -> bool:
        return self.changed(self.statements.claim, claim_parameters(claim, completed=True)) == 1

    def changed(self, statement: str, parameters: Mapping[str, Any]) -> int:
        return int(self._cursor().execute(statement, parameters).rowcount)

    def found(self, claim: Claim) -> Record | None:
        parameters = {"scope": claim.scope, "key": claim.key}
        return as_record(self._cursor().execute(self.statements.find, parameters).fetchone())

    def purge(self) -> None:
        # above READ COMMITTED, a record that another transaction has removed meanwhile is an error
        with contextlib.suppress(self._psycopg.OperationalError), self._connection.transaction():
            self.changed(self.statements.purge, {"most": PURGED_AT_ONCE})

    def end(self) -> None:
        # a connection that was closed has no transaction either, and psycopg would end the block in silence
        if self._connection.info.transaction_status != self._psycopg.pq.TransactionStatus.INTRANS:
            raise IdempotencyTransactionError(ENDED)
        block, self._block = self._block, None
        block.__exit__(None, None, None)

    def undo(self, error: BaseException) -> None:
        block, self._block = self._block, None
        if block is not None:
            with contextlib.suppress(self._psycopg.Error):
                block.__exit__(type(error), error, error.__traceback__)

    def _cursor(self) -> Any:
        # the user's row factory is not asked
        return self._connection.cursor(row_factory=self._psycopg.rows.tuple_row)
