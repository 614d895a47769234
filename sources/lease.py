"""The right to be the only one, among all processes that share a store.

No clocks are compared, since those of two hosts differ: a contender takes over when it has watched the holder's row not
change for the whole ``ttl`` by its own monotonic clock. A holder stops by itself before that. A holder that died on the
same host is seen at once, by its process id and the time the process started.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import monotonic

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from sources.checkpoints import Database, translated
from sources.source import utc_now

LEASES = "lease"
"""The ``source`` of the rows of the checkpoint table that are leases."""

TTL = timedelta(seconds=6)


def process_started(pid: int) -> str:
    """When the process started, in clock ticks since boot; empty when there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def machine() -> str:
    """Names the kernel and the process namespace: only there does a process id mean something."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


class StoredLease:
    """One row of the ``checkpoint`` table. Its document is the holder's, with a counter that each renewal raises."""

    def __init__(
        self,
        database: Database,
        checkpoint: Table,
        name: str,
        *,
        ttl: timedelta = TTL,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.ttl = ttl
        self._database = database
        self._table = checkpoint
        self._name = name
        self._clock = clock
        self._holder = uuid.uuid4().hex
        self._renewals = 0
        self._watched: tuple[str, float] | None = None

    async def acquire(self) -> bool:
        current = await translated(self._database.read, self._current)
        if current is None:
            return await translated(self._database.write, self._insert)
        if self._mine(current) or self._expired(current):
            return await self._replace(current)
        return False

    async def renew(self) -> bool:
        current = await translated(self._database.read, self._current)
        return current is not None and self._mine(current) and await self._replace(current)

    async def release(self) -> None:
        current = await translated(self._database.read, self._current)
        if current is not None and self._mine(current):
            statement = delete(self._table).where(*self._row(), self._table.c.document == current)
            await translated(self._database.write, lambda connection: connection.execute(statement).rowcount)

    def _expired(self, current: str) -> bool:
        """The holder's process has gone, or its row has not changed for the ttl while we looked."""
        holder = json.loads(current)
        if holder["machine"] and holder["machine"] == machine() and process_started(holder["pid"]) != holder["started"]:
            return True
        if self._watched is None or self._watched[0] != current:
            self._watched = (current, self._clock())
        return self._clock() - self._watched[1] >= self.ttl.total_seconds()

    def _document(self) -> str:
        self._renewals += 1
        return json.dumps(
            {
                "holder": self._holder,
                "machine": machine(),
                "pid": os.getpid(),
                "started": process_started(os.getpid()),
                "renewals": self._renewals,
            }
        )

    def _mine(self, document: str) -> bool:
        return bool(json.loads(document)["holder"] == self._holder)

    def _row(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return (self._table.c.source == LEASES, self._table.c.key == self._name)

    def _current(self, connection: Connection) -> str | None:
        return connection.execute(select(self._table.c.document).where(*self._row())).scalar_one_or_none()

    def _insert(self, connection: Connection) -> bool:
        row = {"source": LEASES, "key": self._name, "document": self._document(), "updated_ms": _now_ms()}
        try:
            with connection.begin_nested():  # somebody else's row must not spoil the transaction
                connection.execute(insert(self._table), row)
        except IntegrityError:
            return False
        return True

    async def _replace(self, current: str) -> bool:
        """Only if nobody replaced it first."""
        values = {"document": self._document(), "updated_ms": _now_ms()}
        statement = update(self._table).where(*self._row(), self._table.c.document == current).values(**values)
        return await translated(self._database.write, lambda connection: connection.execute(statement).rowcount == 1)


def _now_ms() -> int:
    return int(utc_now().timestamp() * 1000)
