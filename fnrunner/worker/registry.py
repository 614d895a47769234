"""The worker table: who is alive, who stopped in order, who died.

No clocks are compared. A worker of this host is dead as soon as its process is, which is known by its number and the time
it started. One of another host, or of another container, is dead when this process has watched its heartbeat not move for
:data:`STALE`. A host or container that was restarted has another boot id: its former workers are watched like others'.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from fnrunner.concurrency.sharing import Settled
from fnrunner.store.engine import Store
from fnrunner.store.schema import prepared, trial, worker
from fnrunner.worker.shares import Proposal, Shares
from fnrunner.worker.silence import NEVER, Silences
from sources.lease import process_started

STALE = timedelta(seconds=15)
HEARTBEAT = timedelta(seconds=2)
BLIND = 3 * HEARTBEAT
"""Who could not read or write the store for so long does not know who lives: all are watched anew."""

ASK_AGAIN = timedelta(milliseconds=500)
KEEP = timedelta(days=1)
"""How long workers that stopped or died, and trials that nobody struck out, are remembered."""

CLEAN_EVERY = timedelta(minutes=1)


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
    """This process's row, and what the others' rows say. ``now`` gives aware UTC, ``monotonic`` seconds."""

    def __init__(
        self,
        store: Store,
        *,
        worker_id: str,
        zone: str,
        capacity: int,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        shares: Shares | None = None,
    ) -> None:
        """``shares`` are settled within each heartbeat; without them this worker holds none."""
        self._store = store
        self._shares = shares
        self._id = worker_id
        self._zone = zone
        self._capacity = capacity
        self._now = now
        self._monotonic = monotonic
        self._host = Host.this()
        self._silences = Silences(monotonic, BLIND)
        self._looking = asyncio.Lock()
        self._beating = asyncio.Lock()
        self._entered_ms = 0
        self._cleaned_at = NEVER

    @property
    def worker_id(self) -> str:
        return self._id

    async def enter(self) -> None:
        """Say that this worker is alive, and look who else is."""
        self._entered_ms = self._now_ms()
        row = self._row({})
        await self._store.write(lambda connection: connection.execute(insert(worker), row))
        self._silences.wrote()
        await self._look()
        if self._shares is not None:
            await self.beat({})

    async def beat(self, in_flight: Mapping[str, int]) -> None:
        """Still alive, with so many deliveries of each function in hand. The share is settled with it."""
        async with self._beating:
            proposal = await self._shares.propose() if self._shares is not None else None
            settled = await self._store.write(lambda connection: self._write(connection, in_flight, proposal))
            self._silences.wrote()
            if self._shares is not None and proposal is not None and settled is not None:
                self._shares.apply(settled, proposal)

    async def settle(self, in_flight: Mapping[str, int]) -> None:
        """Beat at once where the share is out of date, because what is reserved or provisioned has changed."""
        if self._shares is not None and self._shares.outdated:
            await self.beat(in_flight)

    def _write(self, connection: Connection, in_flight: Mapping[str, int], proposal: Proposal | None) -> Settled | None:
        row, settled = self._row(in_flight), None
        if self._shares is not None and proposal is not None:
            # before the row says that this worker lives again: what it held when it was buried is gone
            settled = self._shares.settle(connection, proposal)
            row["share"] = settled.held.share
        values = {name: row[name] for name in ("heartbeat_ms", "in_flight", "share")} | {"died_ms": None}
        # who was away for longer than a day may have been forgotten
        if connection.execute(update(worker).where(worker.c.id == self._id).values(values)).rowcount == 0:
            connection.execute(insert(worker), row)
        if self._shares is not None and proposal is not None and settled is not None:
            self._shares.write(connection, settled.held, proposal)
        return settled

    async def watch(self) -> None:
        """Look once whether the others live, with each heartbeat; now and then forget those of long ago."""
        await self._look()
        if self._monotonic() - self._cleaned_at >= CLEAN_EVERY.total_seconds():
            await self._store.write(self._forget)
            self._cleaned_at = self._monotonic()

    async def leave(self) -> None:
        """It stopped in order: nothing it gave back is suspect."""
        if self._shares is not None:
            self._shares.close()
        values = {"stopped_ms": self._now_ms(), "in_flight": "{}", "share": 0}

        def work(connection: Connection) -> None:
            connection.execute(update(worker).where(worker.c.id == self._id).values(values))
            connection.execute(delete(prepared).where(prepared.c.worker == self._id))

        await self._store.write(work)

    async def is_dead(self, worker_id: str) -> bool:
        """Whether the worker died without stopping in order. An unknown one is dead.

        For one of another host the answer waits for its next heartbeat, or for :data:`STALE` without one.
        """
        if worker_id == self._id:
            return False
        statement = select(worker).where(worker.c.id == worker_id)
        first: int | None = None
        while True:
            row = await self._store.read(lambda connection: connection.execute(statement).first())
            if row is None or row.stopped_ms is not None or row.died_ms is not None:
                return row is None or row.stopped_ms is None
            if self._is_here(row):
                return bool(process_started(row.pid) != row.process_start)
            if first is None:
                first = row.heartbeat_ms
            elif row.heartbeat_ms != first:
                return False
            await self._look()
            await asyncio.sleep(ASK_AGAIN.total_seconds())

    async def deaths_since(self, since_ms: int) -> int:
        """How many workers died at or after ``since_ms``; those found dead just now count as dying now.

        Workers that may have died before this one came count until they are heard of: for one heartbeat if they live.
        """
        found = or_(worker.c.died_ms.is_(None), worker.c.died_ms >= since_ms)
        rows, dead = await self._look_for(found)
        return sum(row.died_ms is not None or row.id in dead or self._silences.is_doubtful(row.id) for row in rows)

    async def _look(self) -> None:
        await self._look_for(worker.c.died_ms.is_(None))

    async def _look_for(self, condition: Any) -> tuple[list[Row[Any]], set[str]]:
        """The others that have not stopped and fulfil the condition, and the names of those that died just now."""
        statement = select(worker).where(worker.c.stopped_ms.is_(None), worker.c.id != self._id, condition)
        # one look at a time: an older answer must not seem to be a heartbeat
        async with self._looking:
            asked_at = self._monotonic()
            rows = await self._store.read(lambda connection: list(connection.execute(statement).all()))
            living = [row for row in rows if row.died_ms is None]
            self._silences.look({row.id: row.heartbeat_ms for row in living if not self._is_here(row)}, asked_at)
            dead = [row for row in living if not self._lives(row)]
            if dead:
                await self._store.write(lambda connection: self._bury(connection, dead))
            if self._shares is not None:
                self._shares.see({row.id: row.capacity for row in living if row not in dead})
        return rows, {row.id for row in dead}

    def _bury(self, connection: Connection, dead: list[Row[Any]]) -> None:
        for row in dead:
            # unless it was heard of, or somebody else found it, since it was read
            unchanged = (worker.c.heartbeat_ms == row.heartbeat_ms, worker.c.died_ms.is_(None))
            statement = update(worker).where(worker.c.id == row.id, *unchanged)
            if connection.execute(statement.values(died_ms=self._now_ms(), share=0)).rowcount:
                connection.execute(delete(prepared).where(prepared.c.worker == row.id))

    def _forget(self, connection: Connection) -> None:
        before_ms = int((self._now() - KEEP).timestamp() * 1000)
        ended = or_(worker.c.stopped_ms < before_ms, worker.c.died_ms < before_ms)
        connection.execute(delete(worker).where(ended))
        connection.execute(delete(trial).where(trial.c.started_ms < before_ms))

    def _lives(self, row: Row[Any]) -> bool:
        if self._is_here(row):
            return bool(process_started(row.pid) == row.process_start)
        return self._silences.of(row.id) < STALE

    def _is_here(self, row: Row[Any]) -> bool:
        """Its process would be seen from here, if it were there."""
        return bool(row.process_start) and (row.host, row.boot_id) == (self._host.name, self._host.boot_id)

    def _row(self, in_flight: Mapping[str, int]) -> dict[str, Any]:
        return {
            "id": self._id,
            "host": self._host.name,
            "pid": os.getpid(),
            "process_start": process_started(os.getpid()),
            "boot_id": self._host.boot_id,
            "zone": self._zone,
            "capacity": self._capacity,
            "started_ms": self._entered_ms,
            "heartbeat_ms": self._now_ms(),
            "in_flight": json.dumps(dict(in_flight)),
            "share": 0,
        }

    def _now_ms(self) -> int:
        return int(self._now().timestamp() * 1000)
