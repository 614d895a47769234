"""Records in a SQLite file, for the environments of one host."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time

from .errors import (
    IdempotencyError,
    IdempotencyPersistenceLayerError,
    IdempotencyPlaceError,
    IdempotencyStoreBusyError,
    IdempotencyStoreFullError,
)
from .place import check_place
from .statements import DEFAULT_TABLE, Statements
from .store import KeptConnection, now_ms

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

OLDEST = (3, 24)
LONGEST_WAIT_S = 5.0


class SQLiteStore(KeptConnection):
    """Records in the file ``path``, which is made when it is first used, in WAL mode, safely by many processes at once.

    The file has to be where all environments of the function see it: their /tmp is private. A bucket's directory serves
    (``!GetAtt NAME.Directory`` in a template, as an environment variable), with a name that begins with a dot, such as
    ``.idempotency.sqlite``, so that it is no object of the bucket; so does any directory of the host that the worker's
    user can write. Not a network file system: with workers on several hosts use PostgresStore. The file and its ``-wal``
    may not outgrow the function's EphemeralStorage (512 MB unless configured), which bounds every file it writes.

    Raises, when used: IdempotencyPlaceError for a place that is private, missing or not writable.
    """

    def __init__(self, path: str | os.PathLike[str], *, table: str = DEFAULT_TABLE) -> None:
        super().__init__(table, postgres=False)
        self._path = os.fspath(path)
        self._file: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"SQLiteStore({self._path!r})"

    def _open(self, patience_s: float) -> sqlite3.Connection:
        path = check_place(self._path)
        if sqlite3.sqlite_version_info < OLDEST:
            raise IdempotencyPlaceError(f"SQLite {sqlite3.sqlite_version} is too old: use a Python with 3.24 or later")
        with translated(path):
            connection = sqlite3.connect(path, timeout=_wait(patience_s), isolation_level=None, check_same_thread=False)
            try:
                # Two processes that switch to WAL at the same moment: SQLite does not wait there by itself.
                _patiently(connection, "PRAGMA journal_mode = WAL", patience_s)
                make_table(connection, self._statements)
            except BaseException:
                connection.close()
                raise
        self._file = _identity(path)
        return connection

    def _is_stale(self) -> bool:
        """The file was removed or replaced: what is written to the old one nobody would ever see."""
        return self._file is None or self._file != _identity(self._path)

    def _changed(self, statement: str, parameters: Mapping[str, Any], patience_s: float) -> int:
        return self._done(statement, parameters, patience_s).rowcount

    def _found(self, statement: str, parameters: Mapping[str, Any], patience_s: float) -> Any:
        return self._done(statement, parameters, patience_s).fetchone()

    def _done(self, statement: str, parameters: Mapping[str, Any], patience_s: float) -> sqlite3.Cursor:
        with self._lock, translated(self._path):
            connection: sqlite3.Connection = self._connection(patience_s)
            try:
                connection.execute(f"PRAGMA busy_timeout = {int(_wait(patience_s) * 1000)}")
                return connection.execute(statement, {**parameters, "now": now_ms()})
            except sqlite3.Error as error:
                # looked at before the connection goes, which may shorten the files
                reason = explained(error, self._path)
                self._drop()
                raise reason from error


def make_table(connection: sqlite3.Connection | sqlite3.Cursor, statements: Statements) -> None:
    """The table and its index, once. Looks first: looking takes no lock that a writer would have to wait for."""
    name = statements.table.strip('"')
    known = "SELECT count(*) FROM sqlite_master WHERE name IN (?, ?)"
    if connection.execute(known, (name, f"{name}_expiry")).fetchone()[0] < 2:
        for statement in statements.create:
            connection.execute(statement)


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """SQLite's errors as this package's, but for those of constraints: records have none that can be violated."""
    try:
        yield
    except (IdempotencyError, sqlite3.IntegrityError):
        raise
    except sqlite3.Error as error:
        raise explained(error, path) from error


def explained(error: sqlite3.Error, path: str) -> IdempotencyPersistenceLayerError:
    """What is wrong with the file, and what to do.

    >>> type(explained(sqlite3.OperationalError("database is locked"), "f")).__name__
    'IdempotencyStoreBusyError'
    """
    text = str(error)
    if "locked" in text or "busy" in text:
        return IdempotencyStoreBusyError(
            f"{path} was locked by another writer all the time ({text}). Keep transactions on this file short, and connect "
            "with a longer timeout, sqlite3.connect(…, timeout=30)"
        )
    if "full" in text or _is_too_big(path):
        return IdempotencyStoreFullError(
            f"{path} has no space left ({text}). Free space on its file system; raise the function's EphemeralStorage, "
            "which bounds each file; shorten `expires` to keep fewer records"
        )
    if "not a database" in text or "malformed" in text:
        return IdempotencyPersistenceLayerError(
            f"{path} is no intact SQLite database ({text}). Name another file, or restore or remove this one"
        )
    if "readonly" in text or "unable to open" in text:
        return IdempotencyPersistenceLayerError(
            f"{path} cannot be written ({text}). Let the worker's user write the file and its directory"
        )
    return IdempotencyPersistenceLayerError(
        f"{path} could not be used ({type(error).__name__}: {text}). Check the file"
    )


def _is_too_big(path: str) -> bool:
    """Whether the file is near the largest size that this process may write."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return False
    sizes = [os.path.getsize(name) for name in (path, f"{path}-wal") if os.path.exists(name)]
    return any(size > limit - 128 * 1024 for size in sizes)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _wait(patience_s: float) -> float:
    return max(0.01, min(patience_s, LONGEST_WAIT_S))


def _patiently(connection: sqlite3.Connection, statement: str, patience_s: float) -> None:
    """Again while the database is locked."""
    end = time.monotonic() + _wait(patience_s)
    while True:
        try:
            connection.execute(statement).fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= end:
                raise
        time.sleep(0.01)
