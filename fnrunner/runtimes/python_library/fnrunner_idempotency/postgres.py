"""Records in PostgreSQL, for workers on any number of hosts.

psycopg 3 comes with the function, in its package or a layer; nothing of it is imported before a store is made.
"""

from __future__ import annotations

import contextlib

from .errors import (
    IdempotencyDriverMissingError,
    IdempotencyError,
    IdempotencyPersistenceLayerError,
    IdempotencyStoreBusyError,
    IdempotencyStoreFullError,
    IdempotencyStoreUnreachableError,
)
from .statements import DEFAULT_TABLE, Statements
from .store import KeptConnection

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType
    from typing import Any

CONNECT_TIMEOUT_S = 5
LONGEST_WAIT_S = 10.0
_MAKING = 0x666E5F6964656D70
"""The advisory lock under which tables are made: CREATE TABLE IF NOT EXISTS fails when two do it at the same moment."""


class PostgresStore(KeptConnection):
    """Records in the database that ``conninfo`` names, a URL or libpq's ``host=… dbname=…``. The table is made when it is
    first used, safely by many processes at once.

    One connection a process. One that the server or the network has cut is made anew, once, within the same call.

    Raises IdempotencyDriverMissingError where psycopg 3 is missing.
    """

    def __init__(self, conninfo: str, *, table: str = DEFAULT_TABLE) -> None:
        super().__init__(table, postgres=True)
        self._psycopg = driver()
        self._conninfo = conninfo

    def __repr__(self) -> str:
        return "PostgresStore(…)"  # the address may have a password

    def _open(self, patience_s: float) -> Any:
        given = self._psycopg.conninfo.conninfo_to_dict(self._conninfo)
        # A silent network must not use up the function's time without a word. Whatever the address says wins.
        usual = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": 1000 * CONNECT_TIMEOUT_S,
            "client_encoding": "utf8",
        }
        # prepare_threshold: a pooler such as PgBouncer gives the next statement to another session
        connection = self._psycopg.connect(
            **{**usual, "application_name": "fnrunner_idempotency", **given}, autocommit=True, prepare_threshold=None
        )
        try:
            with connection.transaction():
                make_table(connection, self._statements)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_stale(self) -> bool:
        return bool(self._kept.closed)

    def _changed(self, statement: str, parameters: Mapping[str, Any], patience_s: float) -> int:
        return int(self._done(statement, parameters, patience_s).rowcount)

    def _found(self, statement: str, parameters: Mapping[str, Any], patience_s: float) -> Any:
        return self._done(statement, parameters, patience_s).fetchone()

    def _done(self, statement: str, parameters: Mapping[str, Any], patience_s: float) -> Any:
        """Every statement may be done twice: a claim knows its owner, the others say where they are to end."""
        with self._lock, translated(self._psycopg):
            kept = self._kept
            try:
                return self._tried(statement, parameters, patience_s)
            except self._psycopg.OperationalError:
                if kept is None or not kept.closed:
                    raise
            self._drop()
            return self._tried(statement, parameters, patience_s)

    def _tried(self, statement: str, parameters: Mapping[str, Any], patience_s: float) -> Any:
        connection = self._connection(patience_s)
        try:
            with connection.transaction():
                limit(connection, "statement_timeout", max(0.1, min(patience_s, LONGEST_WAIT_S)))
                return connection.execute(statement, parameters)
        except BaseException:
            if connection.closed or connection.broken:
                self._drop()
            raise


def driver() -> ModuleType:
    """psycopg 3. Raises IdempotencyDriverMissingError."""
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError as error:
        # what is missing may also be libpq, which the [binary] extra brings
        raise IdempotencyDriverMissingError(f"{IdempotencyDriverMissingError()} ({error})") from error
    return psycopg


def limit(connection: Any, name: str, seconds: float) -> None:
    """Set a timeout of the server's for the rest of the transaction."""
    connection.execute("SELECT set_config(%s, %s, true)", (name, str(int(seconds * 1000))))


def make_table(connection: Any, statements: Statements) -> None:
    """The table and its index, once, in the transaction that is open."""
    known = "SELECT to_regclass(%s) IS NOT NULL"
    if connection.execute(known, (statements.table,)).fetchone()[0]:
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
    if not connection.execute(known, (statements.table,)).fetchone()[0]:
        for statement in statements.create:
            connection.execute(statement)


@contextlib.contextmanager
def translated(psycopg: ModuleType) -> Iterator[None]:
    """psycopg's errors as this package's, but for those of constraints: records have none that can be violated."""
    try:
        yield
    except (IdempotencyError, psycopg.IntegrityError):
        raise
    except psycopg.Error as error:
        raise explained(error) from error


def explained(error: Any) -> IdempotencyPersistenceLayerError:
    """What is wrong with the database, and what to do, by the SQLSTATE."""
    state, text = error.sqlstate or "", " ".join(str(error).split())
    if state in ("57014", "55P03", "40001", "40P01"):
        return IdempotencyStoreBusyError(
            f"another transaction held the record, or PostgreSQL was too slow ({text}). Keep transactions short"
        )
    if state.startswith("53") and state != "53300":
        return IdempotencyStoreFullError(f"PostgreSQL is out of resources ({text}). Free space on its file system")
    if state in ("42501", "25006"):
        return IdempotencyPersistenceLayerError(
            f"PostgreSQL refuses it ({text}). Connect as a user who may write the table, or have its owner make and grant it: "
            + "; ".join(Statements(DEFAULT_TABLE, postgres=True).create)
        )
    if type(error).__name__ == "OperationalError" or state[:2] in ("08", "57", "53") or "closed" in text:
        return IdempotencyStoreUnreachableError(
            f"PostgreSQL cannot be reached ({text}). Check that it runs, its address and password, its connection limit, and "
            "the worker's network"
        )
    return IdempotencyPersistenceLayerError(f"PostgreSQL could not do it ({type(error).__name__} {state}: {text})")
