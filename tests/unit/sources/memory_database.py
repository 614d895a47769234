"""A database in memory, on the caller's own thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, MetaData, StaticPool, create_engine

from tests.conformance.sources.file_database import tables

T = TypeVar("T")


class MemoryDatabase:
    """``failing`` makes every statement fail."""

    def __init__(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        metadata = MetaData()
        self.seen, self.checkpoint = tables(metadata)
        metadata.create_all(self.engine)
        self.failing = False

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self.failing:
            raise OSError("disk I/O error")
        with self.engine.begin() as connection:
            return work(connection)

    write = read
