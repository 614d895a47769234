"""The border where database errors become the store's: what each means, and whether trying again may help.

Source: SQLite result codes (sqlite.org/rescode.html); PostgreSQL error codes (appendix A of its manual).
"""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from fnrunner.store.errors import StoreConflict, StoreCorrupt, StoreError, StoreFull, StoreUnavailable

DATABASE_ERRORS = (DBAPIError, sqlite3.Error)
"""What :func:`translate` understands: wrapped by SQLAlchemy, or raised while a connection was being set up."""

_SQLITE: dict[int, tuple[type[StoreError], bool]] = {
    sqlite3.SQLITE_BUSY: (StoreUnavailable, True),
    sqlite3.SQLITE_LOCKED: (StoreUnavailable, True),
    sqlite3.SQLITE_PROTOCOL: (StoreUnavailable, True),
    sqlite3.SQLITE_FULL: (StoreFull, False),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, False),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, False),
    sqlite3.SQLITE_READONLY: (StoreUnavailable, False),
    sqlite3.SQLITE_PERM: (StoreUnavailable, False),
    sqlite3.SQLITE_NOMEM: (StoreUnavailable, False),
    sqlite3.SQLITE_CORRUPT: (StoreCorrupt, False),
    sqlite3.SQLITE_NOTADB: (StoreCorrupt, False),
    sqlite3.SQLITE_CONSTRAINT: (StoreConflict, False),
}
_POSTGRESQL: dict[str, tuple[type[StoreError], bool]] = {
    "08": (StoreUnavailable, True),  # connection exception
    "40": (StoreUnavailable, True),  # serialisation failure, deadlock
    "55P03": (StoreUnavailable, True),  # lock not available
    "57P": (StoreUnavailable, True),  # shutting down, crashed, starting up
    "53100": (StoreFull, False),
    "53300": (StoreUnavailable, True),  # too many connections
    "53": (StoreUnavailable, False),  # insufficient resources
    "25006": (StoreUnavailable, False),  # read-only: a standby, or a reader that tried to write
    "58": (StoreUnavailable, False),  # input/output error
    "XX001": (StoreCorrupt, False),
    "XX002": (StoreCorrupt, False),
    "23": (StoreConflict, False),
    "28": (StoreUnavailable, False),  # not authorised
    "3D": (StoreUnavailable, False),  # no such database
}

_CONNECTION = frozenset(("OperationalError", "InterfaceError"))
"""What psycopg raises without a code: the connection is not there, or no longer."""


def translate(error: BaseException) -> StoreError:
    """What one of :data:`DATABASE_ERRORS` means; the caller chains it."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, sqlite3.Error):
        kind, transient = _sqlite(original)
        return _named(kind, original, transient=transient)
    state = str(getattr(original, "sqlstate", None) or "")
    # a timeout while connecting has a class of its own below them
    if not state and _CONNECTION & {kind.__name__ for kind in type(original).__mro__}:
        return _named(StoreUnavailable, original, transient=True, lost=True)
    kind, transient = _postgresql(state)
    lost = bool(getattr(error, "connection_invalidated", False)) or state.startswith(("08", "57P"))
    return _named(kind, original, transient=transient or lost, lost=lost)


def _sqlite(error: sqlite3.Error) -> tuple[type[StoreError], bool]:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return StoreError, False
    # A full disk also shows as a write-ahead index that cannot grow.
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:
        return StoreFull, False
    return _SQLITE.get(code & 0xFF, (StoreError, False))


def _postgresql(state: str) -> tuple[type[StoreError], bool]:
    """By the longest prefix that is listed."""
    for length in range(len(state), 1, -1):
        if state[:length] in _POSTGRESQL:
            return _POSTGRESQL[state[:length]]
    return StoreError, False


def _named(kind: type[StoreError], original: object, *, transient: bool, lost: bool = False) -> StoreError:
    detail = str(original).strip().splitlines()
    shown = detail[0] if detail else type(original).__name__
    return kind(f"{kind()} ({shown})", transient=transient, lost=lost)
