"""Connections to SQLite and PostgreSQL set up alike, and the threads that use them."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from fnrunner.store.attempt import Attempt
from fnrunner.store.errors import StoreUnavailable

T = TypeVar("T")
Purpose = Literal["read", "write"]

_BUSY_TIMEOUT_S = 5.0
_LIVENESS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A server that vanished without a word is noticed within half a minute. A URL's own values win."""


class Lane:
    """``threads`` threads, each with a connection of its own, for one purpose."""

    def __init__(self, url: URL, purpose: Purpose, *, threads: int, echo: bool) -> None:
        self._engine = open_engine(url, purpose, connections=threads, echo=echo)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"store-{purpose}")

    @property
    def engine(self) -> Engine:
        return self._engine

    async def run(self, attempt: Attempt[T]) -> T:
        """Wait for a thread, then run. When the caller is cancelled, what has begun is finished all the same."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, attempt.run, self._engine)

    def close(self) -> None:
        """Blocking: let what runs finish, then close the connections."""
        self._threads.shutdown(wait=True)
        self._engine.dispose()


def parse_url(text: str) -> URL:
    """Raises StoreUnavailable for what is neither a SQLite file nor PostgreSQL."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise StoreUnavailable("FNRUNNER_STORE_URL is no URL: sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    backend = url.get_backend_name()
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreUnavailable(f"FNRUNNER_STORE_URL: {backend} is not supported; use sqlite:///FILE or postgresql://…")
    # Each connection would have a database of its own.
    if not url.database or ":memory:" in url.database:
        raise StoreUnavailable("FNRUNNER_STORE_URL: the store is shared by connections, so SQLite needs a file")
    return url


def make_private_file(url: URL) -> None:
    """The database holds functions' environments: only its owner may read it. Existing files keep their mode."""
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"{StoreUnavailable()} ({error})") from error


def open_engine(url: URL, purpose: Purpose, *, connections: int, echo: bool) -> Engine:
    """Connects at first use. ``connections`` is the most there are."""
    shared: dict[str, Any] = {"pool_size": connections, "max_overflow": 0, "echo": echo, "hide_parameters": not echo}
    if url.get_backend_name() == "postgresql":
        # a database made with SQL_ASCII would answer bytes otherwise
        chosen = {**_LIVENESS, "client_encoding": "utf8"}
        arguments = {name: value for name, value in chosen.items() if name not in url.query}
        engine = create_engine(url, connect_args=arguments, **shared)
        # Readers see one commit throughout, as SQLite's do.
        steady = {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        return engine.execution_options(**steady) if purpose == "read" else engine
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S}, **shared)
    event.listen(engine, "connect", _prepare_reader if purpose == "read" else _prepare_writer)
    event.listen(engine, "begin", _begin_reading if purpose == "read" else _begin_writing)
    return engine


def _prepare_writer(connection: sqlite3.Connection, _record: object) -> None:
    # Transactions are begun by us, not by the driver, which would begin late and commit before DDL.
    connection.isolation_level = None
    # The timeout goes last: switching to the write-ahead log still waits for others.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=0"):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_reader(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")


def _begin_writing(connection: Connection) -> None:
    # IMMEDIATE: a transaction that read first could not upgrade once another process has written. SQLite's own waiting
    # backs off to 100 ms, which starves those who have waited longest; processes that all ask again soon share evenly.
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.0005, 0.002))  # noqa: S311 - spreads processes, guards nothing
        else:
            return


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
