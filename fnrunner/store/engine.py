"""Run functions in transactions on threads, so that the event loop never waits for a disk.

One writer thread a process: SQLite has one writer anyway, and the ledger commits in groups. Readers have a pool of
their own and see the last commit. Several processes may share one SQLite file: writers queue for it (BEGIN IMMEDIATE,
so that no transaction fails half-way for being late), readers never wait.

SQLite runs with ``synchronous=FULL``: a commit survives a power cut. Measured on a virtual disk with groups of 32 rows,
FULL writes 51,000 rows a second and NORMAL 99,000; both are far beyond what a fleet on one file settles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, Table, delete, select
from sqlalchemy.dialects import sqlite
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from fnrunner.store import migration, sealing
from fnrunner.store.attempt import Attempt
from fnrunner.store.connection import Lane, make_private_file, open_engine, parse_url
from fnrunner.store.errors import StoreClosed, StoreError, StoreUnavailable
from fnrunner.store.schema import write_mark
from fnrunner.store.sealing import Sealer

T = TypeVar("T")

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

    Insert = sqlite.Insert | postgresql.Insert

PATIENCE = timedelta(seconds=30)
"""How long transient faults are retried before StoreUnavailable reaches the caller."""


class Store:
    """``url`` is ``sqlite:///FILE`` or ``postgresql://…``. ``echo`` logs every statement, values included."""

    def __init__(self, url: str, *, readers: int = 4, patience: timedelta = PATIENCE, echo: bool = False) -> None:
        self._url = parse_url(url)
        self._patience = patience
        self._reader_count = readers
        self._echo = echo
        self._identity = uuid4().hex
        self._reader: Lane | None = None
        self._writer: Lane | None = None

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        return "postgresql" if self._url.get_backend_name() == "postgresql" else "sqlite"

    @property
    def where(self) -> str:
        """The URL for people, without its password."""
        return self._url.render_as_string(hide_password=True)

    async def start(self) -> None:
        """Open, and make or migrate the schema. A second start is harmless.

        Raises StoreUnavailable, of a server that cannot be reached at once: who waits for it says so. StoreFull, StoreTooNew,
        StoreCorrupt.
        """
        if self._writer is not None:
            return
        if self.dialect == "sqlite":
            await asyncio.to_thread(make_private_file, self._url)
        self._writer = Lane(self._url, "write", threads=1, echo=self._echo)
        self._reader = Lane(self._url, "read", threads=self._reader_count, echo=self._echo)
        try:
            if self.dialect == "postgresql":
                await self._reach(self._reader)
            if not await self.read(migration.up_to_date):
                await self.write(migration.migrate)
        except BaseException:
            await self.close()
            raise

    async def _reach(self, lane: Lane) -> None:
        """Raises StoreUnavailable when the server does not take the connection."""
        try:
            await lane.run(Attempt(lambda connection: connection.execute(select(1)).scalar()))
        except StoreUnavailable as error:
            said = str(getattr(error.__cause__, "orig", error)).strip().partition("\n")[0]
            raise StoreUnavailable(
                f"The store at {self.where} cannot be used: {said}. Look whether PostgreSQL runs there, and whether "
                "FNRUNNER_STORE_URL names it",
                transient=error.transient,
                lost=error.lost,
            ) from error

    async def close(self) -> None:
        """Finish what runs, then close every connection. Idempotent."""
        lanes = [lane for lane in (self._reader, self._writer) if lane is not None]
        self._reader = self._writer = None
        for lane in lanes:
            await asyncio.to_thread(lane.close)

    def seal_with(self, sealer: Sealer) -> None:
        """Seal functions' environments from now on. Raises StoreClosed."""
        for lane in (self._reader, self._writer):
            if lane is None:
                raise StoreClosed
            sealing.use(lane.engine, sealer)

    def read_blocking(self, work: Callable[[Connection], T]) -> T:
        """As ``read``, at once and on a connection of its own: for what a transaction of this store waits for.

        Raises what ``work`` raises, and the errors of ``read``.
        """
        engine = open_engine(self._url, "read", connections=1, echo=self._echo)
        try:
            return Attempt(work).run(engine)
        finally:
            engine.dispose()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` returns, run on a reader thread in a read-only transaction; may be run again after a fault.

        Raises what ``work`` raises, StoreUnavailable, StoreCorrupt, StoreClosed.
        """
        return await self._patiently(self._reader, Attempt(work))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` returns, run on the writer thread and committed; rolled back if it raises.

        ``work`` may run more than once, and takes effect once: a lost commit is looked up before it is repeated. When
        the caller is cancelled, work that has begun is still finished.
        Raises what ``work`` raises, StoreUnavailable, StoreFull, StoreConflict, StoreCorrupt, StoreClosed.
        """
        return await self._patiently(self._writer, Attempt(work, self._identity))

    async def sweep(self, before_ms: int) -> None:
        """Forget writers that have written nothing since then."""
        await self.write(
            lambda connection: connection.execute(delete(write_mark).where(write_mark.c.at_ms < before_ms))
        )

    def insert_or_ignore(self, table: Table) -> Insert:
        """An INSERT that passes over rows whose key exists."""
        return self._insert(table).on_conflict_do_nothing()

    def upsert(self, table: Table, keys: Collection[str], changes: Mapping[str, Any] | None = None) -> Insert:
        """An INSERT that makes ``changes`` to the row whose ``keys`` are the same.

        ``changes`` maps columns to values or expressions; None overwrites every column but ``keys`` with the new row's.
        """
        insert = self._insert(table)
        if changes is None:
            changes = {name: insert.excluded[name] for name in insert.excluded.keys() if name not in keys}  # noqa: SIM118
        if not changes:
            return insert.on_conflict_do_nothing(index_elements=list(keys))
        return insert.on_conflict_do_update(index_elements=list(keys), set_=dict(changes))

    def _insert(self, table: Table) -> Insert:
        if self.dialect == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table)
        return sqlite.insert(table)

    async def _patiently(self, lane: Lane | None, attempt: Attempt[T]) -> T:
        if lane is None:
            raise StoreClosed
        try:
            # nearly every time: the machinery of retrying would cost more than the thread's turn
            return await lane.run(attempt)
        except StoreError as error:
            if not error.transient:
                raise
        async for trial in AsyncRetrying(
            retry=retry_if_exception(_transient),
            stop=stop_after_delay(self._patience),
            wait=wait_random_exponential(multiplier=0.02, max=1),
            reraise=True,
        ):
            with trial:
                return await lane.run(attempt)
        raise AssertionError("unreachable: the last trial returns or raises")


def _transient(error: BaseException) -> bool:
    return isinstance(error, StoreError) and error.transient
