"""The worker table: who is alive, who stopped in order, who died.

A worker of this host is dead as soon as its process is; one of another host when its heartbeat is older than
:data:`STALE`. A host that was restarted has another boot id, and then all its former workers are dead.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Row, insert, select, update

from fnrunner.store.engine import Store
from fnrunner.store.schema import worker

STALE = timedelta(seconds=15)
HEARTBEAT = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Host:
    """Where a process runs. ``boot_id`` differs after each restart of the host, and between containers."""

    name: str
    boot_id: str

    @classmethod
    def this(cls) -> Host:
        boot = Path("/proc/sys/kernel/random/boot_id")
        boot_id = boot.read_text().strip() if boot.exists() else "unknown"
        namespace = Path("/proc/self/ns/pid")
        # process ids mean something only within one pid namespace
        inside = os.readlink(namespace) if namespace.is_symlink() else ""
        return cls(socket.gethostname(), f"{boot_id}{inside}"[:64])


class Registry:
    """This process's row, and what the others' rows say. ``now`` gives aware UTC."""

    def __init__(self, store: Store, *, worker_id: str, zone: str, capacity: int, now: Callable[[], datetime]) -> None:
        self._store = store
        self._id = worker_id
        self._zone = zone
        self._capacity = capacity
        self._now = now
        self._host = Host.this()

    @property
    def worker_id(self) -> str:
        return self._id

    async def enter(self) -> None:
        """Say that this worker is alive."""
        row = {
            "id": self._id,
            "host": self._host.name,
            "pid": os.getpid(),
            "boot_id": self._host.boot_id,
            "zone": self._zone,
            "capacity": self._capacity,
            "started_ms": self._now_ms(),
            "heartbeat_ms": self._now_ms(),
            "in_flight": "{}",
        }
        await self._store.write(lambda connection: connection.execute(insert(worker), row))

    async def beat(self, in_flight: Mapping[str, int]) -> None:
        """Still alive, with so many deliveries of each function in hand."""
        values = {"heartbeat_ms": self._now_ms(), "in_flight": json.dumps(dict(in_flight)), "died_ms": None}
        statement = update(worker).where(worker.c.id == self._id).values(values)
        await self._store.write(lambda connection: connection.execute(statement))

    async def leave(self) -> None:
        """It stopped in order: nothing it gave back is suspect."""
        statement = update(worker).where(worker.c.id == self._id).values(stopped_ms=self._now_ms(), in_flight="{}")
        await self._store.write(lambda connection: connection.execute(statement))

    async def is_dead(self, worker_id: str) -> bool:
        """Whether the worker died without stopping in order. An unknown one is dead."""
        if worker_id == self._id:
            return False
        row = await self._store.read(
            lambda connection: connection.execute(select(worker).where(worker.c.id == worker_id)).first()
        )
        return row is None or (row.stopped_ms is None and not self._lives(row))

    async def deaths_since(self, since_ms: int) -> int:
        """How many workers died at or after ``since_ms``; those found dead just now count as dying now."""
        return await self._store.write(lambda connection: self._count_deaths(connection, since_ms))

    def _count_deaths(self, connection: Connection, since_ms: int) -> int:
        rows = connection.execute(select(worker).where(worker.c.stopped_ms.is_(None), worker.c.id != self._id)).all()
        deaths = 0
        for row in rows:
            died_ms = row.died_ms
            if died_ms is None and not self._lives(row):
                died_ms = self._now_ms()
                connection.execute(update(worker).where(worker.c.id == row.id).values(died_ms=died_ms))
            deaths += died_ms is not None and died_ms >= since_ms
        return deaths

    def _lives(self, row: Row[tuple[object, ...]]) -> bool:
        if row.host == self._host.name and row.boot_id == self._host.boot_id:
            return _runs(row.pid, row.started_ms)
        return bool(self._now_ms() - row.heartbeat_ms <= STALE / timedelta(milliseconds=1))

    def _now_ms(self) -> int:
        return int(self._now().timestamp() * 1000)


def _runs(pid: int, started_ms: int) -> bool:
    """Whether the process is there, is no zombie, and is not a later one with the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    except FileNotFoundError:
        return False
    born_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    age_ms = (uptime_s - born_s) * 1000
    entered_ago_ms = datetime.now().timestamp() * 1000 - started_ms
    return fields[0] not in "ZX" and age_ms + 2_000 >= entered_ago_ms
