"""Keep what has been announced in the tables that all processes share.

The tables are handed in, so that this package has no schema. Statements are SQLAlchemy Core that every dialect takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Table, bindparam, delete, insert, select

from sources import object_key
from sources.errors import CheckpointsUnavailable
from sources.snapshot import Change, Identity, Objects, Remembered, Root
from sources.source import utc_now

T = TypeVar("T")
ROOTS = "bucket"
"""The ``source`` of the rows of the checkpoint table that say which directory a bucket was."""


class Database(Protocol):
    """Runs a function in one transaction, on a thread of its own. The store that all processes share fits."""

    async def read(self, work: Callable[[Connection], T]) -> T: ...
    async def write(self, work: Callable[[Connection], T]) -> T: ...


async def translated(call: Callable[[Callable[[Connection], T]], object], work: Callable[[Connection], T]) -> T:
    """Run the work; whatever the database raises becomes CheckpointsUnavailable. The one border of this package."""
    try:
        return await call(work)  # type: ignore[misc, no-any-return]
    except Exception as error:
        raise CheckpointsUnavailable(
            f"the checkpoint store does not answer: {error or type(error).__name__}"
        ) from error


class StoredCheckpoints:
    """The checkpoints of all buckets in two tables: ``seen_object``, and ``checkpoint`` for what a bucket's directory is."""

    def __init__(self, database: Database, seen: Table, checkpoint: Table) -> None:
        self._database = database
        self._seen = seen
        self._checkpoint = checkpoint

    async def load(self, bucket: str) -> Remembered:
        seen, roots = self._seen.c, self._checkpoint.c

        def work(connection: Connection) -> Remembered:
            document = connection.execute(
                select(roots.document).where(roots.source == ROOTS, roots.key == bucket)
            ).scalar_one_or_none()
            rows = connection.execution_options(yield_per=2_000).execute(
                select(seen.key, seen.size_bytes, seen.mtime_ns, seen.inode).where(seen.bucket == bucket)
            )
            objects = Objects()
            for key, size, mtime, inode in rows:
                objects[object_key.from_stored(key)] = Identity(size, mtime, inode % (1 << 64))
            return Remembered(Root(**json.loads(document)) if document else None, objects)

        return await translated(self._database.read, work)

    async def record(self, bucket: str, changes: Sequence[Change]) -> None:
        seen = self._seen
        forget = delete(seen).where(seen.c.bucket == bindparam("b"), seen.c.key == bindparam("k"))
        keys = [{"b": bucket, "k": object_key.stored(change.key)} for change in changes]
        rows = [
            {
                "bucket": bucket,
                "key": object_key.stored(change.key),
                "size_bytes": change.identity.size_bytes,
                "mtime_ns": change.identity.mtime_ns,
                "inode": _signed(change.identity.inode),
                "etag": change.etag,
            }
            for change in changes
            if change.identity is not None
        ]

        def work(connection: Connection) -> None:
            connection.execute(forget, keys)
            if rows:
                connection.execute(insert(seen), rows)

        if changes:
            await translated(self._database.write, work)

    async def remember_root(self, bucket: str, root: Root) -> None:
        table = self._checkpoint
        document = json.dumps({"device": root.device, "inode": root.inode})
        now_ms = int(utc_now().timestamp() * 1000)

        def work(connection: Connection) -> None:
            connection.execute(delete(table).where(table.c.source == ROOTS, table.c.key == bucket))
            row = {"source": ROOTS, "key": bucket, "document": document, "updated_ms": now_ms}
            connection.execute(insert(table), row)

        await translated(self._database.write, work)

    async def delete(self, bucket: str) -> None:
        seen, roots = self._seen, self._checkpoint

        def work(connection: Connection) -> None:
            connection.execute(delete(seen).where(seen.c.bucket == bucket))
            connection.execute(delete(roots).where(roots.c.source == ROOTS, roots.c.key == bucket))

        await translated(self._database.write, work)


def _signed(inode: int) -> int:
    """Inode numbers have 64 bits and databases 63: the top bit becomes the sign."""
    return inode - (1 << 64) if inode >> 63 else inode
