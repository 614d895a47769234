"""Which processes there are, from what each of them wrote down of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select

from fnrunner.store.schema import process

SILENT = timedelta(seconds=15)
"""A process whose last heartbeat is older may be dead: nothing that it said counts."""

MOST = 1_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One process. ``running`` and ``events`` are counts by function, ``problems`` JSON objects with code, part, message and
    remedy. ``runtimes`` of a worker are those that functions can ask for, and what each is run by: itself, or what stands in.
    Times are epoch milliseconds.
    """

    id: str
    roles: tuple[str, ...]
    host: str
    pid: int
    zone: str
    capacity: int
    started_ms: int
    heartbeat_ms: int
    silent: bool = False
    draining: bool = False
    running: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Mapping[str, str], ...] = ()
    runtimes: Mapping[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """``working``, ``draining`` or ``silent``."""
        return "silent" if self.silent else "draining" if self.draining else "working"


def read(connection: Connection, now_ms: int) -> list[Seen]:
    """Every process there is, the newest first; those that are silent are marked so."""
    query = select(process).order_by(process.c.started_ms.desc(), process.c.id).limit(MOST)
    silent_ms = now_ms - int(SILENT.total_seconds() * 1000)
    return [_seen(dict(row._mapping), silent_ms) for row in connection.execute(query)]


def _seen(row: Mapping[str, Any], silent_ms: int) -> Seen:
    told = json.loads(row["document"])
    return Seen(
        id=row["id"],
        roles=tuple(row["roles"].split(",")),
        host=row["host"],
        pid=row["pid"],
        zone=row["zone"],
        capacity=row["capacity"],
        started_ms=row["started_ms"],
        heartbeat_ms=row["heartbeat_ms"],
        silent=row["heartbeat_ms"] < silent_ms,
        draining=bool(told.get("draining")),
        running=told.get("running", {}),
        events=told.get("events", {}),
        problems=tuple(told.get("problems", ())),
        runtimes=told.get("runtimes", {}),
    )
