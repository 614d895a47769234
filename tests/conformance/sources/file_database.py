"""A database of the sources alone: their two tables in a SQLite file."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
)

T = TypeVar("T")


def tables(metadata: MetaData) -> tuple[Table, Table]:
    """The two tables as the sources need them: the seen objects and the checkpoints."""
    seen = Table(
        "seen_object",
        metadata,
        Column("bucket", String(63), primary_key=True),
        Column("key", Text, primary_key=True),
        Column("size_bytes", BigInteger, nullable=False),
        Column("mtime_ns", BigInteger, nullable=False),
        Column("inode", BigInteger, nullable=False),
        Column("etag", String(64), nullable=False),
    )
    checkpoint = Table(
        "checkpoint",
        metadata,
        Column("source", String(255), primary_key=True),
        Column("key", String(255), primary_key=True),
        Column("document", Text, nullable=False),
        Column("updated_ms", BigInteger, nullable=False),
    )
    return seen, checkpoint


def _quick(connection: Any, record: object) -> None:
    """A power cut may take the last checkpoints with it, never the file: those announcements are repeated."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


class FileDatabase:
    """A :class:`Database` in one SQLite file, for a watcher without the rest of the program."""

    def __init__(self, path: Path) -> None:
        self._engine: Engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        event.listen(self._engine, "connect", _quick)
        self._lock = threading.Lock()
        metadata = MetaData()
        self.seen, self.checkpoint = tables(metadata)
        metadata.create_all(self._engine)

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self._run, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self._run, work)

    def _run(self, work: Callable[[Connection], T]) -> T:
        with self._lock, self._engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return work(connection)

    def close(self) -> None:
        self._engine.dispose()
