"""What a process says of itself in the store with every heartbeat, so that ``fnrunner status`` and ``doctor`` know of all.

The row goes with the process; that of one that was killed is passed over once its heartbeat is old, and removed a day later.
How long the store takes for a heartbeat is a sign of its own: see :func:`judge`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete

from fnrunner.model.problem import Code, Problem
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreError
from fnrunner.store.schema import process
from fnrunner.worker.registry import HEARTBEAT

log = logging.getLogger(__name__)

SLOW = timedelta(seconds=1)
"""A heartbeat that the store takes longer for is worth saying."""

SILENT = 2 * HEARTBEAT
KEEP = timedelta(days=1)
LEAVING = timedelta(seconds=3)

REMEDY = "Start the database that FNRUNNER_STORE_URL names, or free its disk"


@dataclass(frozen=True, slots=True)
class Pulse:
    """In monotonic seconds: when the store took the last heartbeat, how long it needed, and since when the next one waits."""

    taken_at: float
    took_s: float = 0.0
    waiting_since: float | None = None


def judge(pulse: Pulse, now: float) -> Problem | None:
    """What the last heartbeats say of the store.

    >>> judge(Pulse(10.0, took_s=0.1), 12.0)
    >>> [judge(pulse, 12.0).code.value for pulse in (Pulse(10.0, 1.5), Pulse(10.0, 0.1, waiting_since=10.9))]
    ['lagging', 'lagging']
    >>> judge(Pulse(10.0, 0.1, waiting_since=12.0), 14.5).code.value
    'store-unavailable'
    """
    if (silent := now - pulse.taken_at) > SILENT.total_seconds():
        told = f"it has not taken a heartbeat for {silent:.0f} s"
        return Problem("store", told, REMEDY, Code.STORE_UNAVAILABLE, disabling=True)
    waits = 0.0 if pulse.waiting_since is None else now - pulse.waiting_since
    if (late := max(pulse.took_s, waits)) > SLOW.total_seconds():
        return Problem("store", f"it takes heartbeats {late:.1f} s late", "Give it a faster disk", Code.LAGGING)
    return None


class Presence:
    """``tell`` gives the document as it is now; ``now`` aware UTC, ``monotonic`` seconds."""

    def __init__(
        self,
        store: Store,
        *,
        name: str,
        roles: tuple[str, ...],
        zone: str,
        capacity: int,
        tell: Callable[[], Mapping[str, Any]],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._tell = tell
        self._now = now
        self._monotonic = monotonic
        self._fixed = {
            "id": name,
            "roles": ",".join(roles),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "zone": zone,
            "capacity": capacity,
            "started_ms": self._now_ms(),
        }
        self._pulse = Pulse(monotonic())
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def problem(self) -> Problem | None:
        return judge(self._pulse, self._monotonic())

    def start(self) -> None:
        if self._task is None:
            self._pulse = Pulse(self._monotonic())
            self._task = asyncio.create_task(self._beat_for_ever(), name="presence")

    def say(self) -> None:
        """Write it down now, because something has changed."""
        self._due.set()

    async def close(self) -> None:
        """The row goes, if the store can be asked now. Idempotent."""
        if (task := self._task) is None:
            return
        self._task = None
        task.cancel()
        await asyncio.wait([task])
        mine = delete(process).where(process.c.id == self._fixed["id"])
        try:
            async with asyncio.timeout(LEAVING.total_seconds()):
                await self._store.write(lambda connection: connection.execute(mine))
        except (TimeoutError, StoreError) as error:
            log.info("that this process ends could not be written down: %s", error)

    async def _beat_for_ever(self) -> None:
        while True:
            self._due.clear()
            try:
                await self._beat()
            except StoreError as error:
                log.info("the store took no heartbeat: %s", error)
            except Exception:
                log.exception("a heartbeat failed")
            try:
                async with asyncio.timeout(HEARTBEAT.total_seconds()):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _beat(self) -> None:
        began = self._monotonic()
        self._pulse = Pulse(self._pulse.taken_at, self._pulse.took_s, began)
        row = {**self._fixed, "heartbeat_ms": self._now_ms(), "document": json.dumps(self._tell())}
        forgotten = self._now_ms() - int(KEEP.total_seconds() * 1000)

        def work(connection: Connection) -> None:
            connection.execute(self._store.upsert(process, ["id"]).values(row))
            connection.execute(delete(process).where(process.c.heartbeat_ms < forgotten))

        try:
            await self._store.write(work)
        except BaseException:
            self._pulse = Pulse(self._pulse.taken_at, self._pulse.took_s)
            raise
        ended = self._monotonic()
        self._pulse = Pulse(ended, ended - began)

    def _now_ms(self) -> int:
        return int(self._now().timestamp() * 1000)
