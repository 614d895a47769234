"""Follows a schedule in a process of its own and writes down each tick; killed by a test.

Arguments: the database's path, the file to append to, the schedule's expression, when it was made (epoch seconds), and how
many times faster than real its clock goes from then on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sources.adapters.schedule import ADAPTER
from sources.claims import StoredClaims
from sources.schedule import CatchUp, SchedulePace, ScheduleWatch
from sources.source import Services, SourceEvent
from tests.conformance.sources.file_database import FileDatabase


class Ledger:
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def accept(self, event: SourceEvent) -> str:
        line = {"pid": os.getpid(), "id": event.event_id, "time": json.loads(event.payload)["time"]}
        os.write(self._file, json.dumps(line).encode() + b"\n")  # one write: a kill never leaves half a line
        return event.event_id


async def main(database: str, ledger: str, expression: str, since: str, factor: str) -> None:
    began = float(since)

    def clock() -> datetime:
        return datetime.fromtimestamp(began + (time.time() - began) * float(factor), UTC)

    stored = FileDatabase(Path(database))
    claims = StoredClaims(stored, stored.checkpoint)
    await claims.start()
    unused: Any = None
    services = Services(Ledger(ledger), unused, unused, clock=clock, claims=claims)
    watch = ScheduleWatch(
        "nightly",
        "f",
        expression,
        created=datetime.fromtimestamp(began, UTC),
        catch_up=CatchUp.ALL,
        pace=SchedulePace(step=timedelta(seconds=0.01)),
    )
    source = ADAPTER.make(watch, services)
    await source.start()
    os.write(1, b"started\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
