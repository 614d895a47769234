"""A process' row in the store: there while it lives, up to date when something changes, gone with it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy import insert

from fnrunner.app import presence
from fnrunner.app.presence import Presence
from fnrunner.model.problem import Code
from fnrunner.store.engine import Store
from fnrunner.store.schema import process
from fnrunner.telemetry import fleet
from fnrunner.telemetry.fleet import Seen


def now() -> datetime:
    return datetime.now(UTC)


def present(store: Store, told: dict[str, Any], name: str = "p") -> Presence:
    return Presence(
        store, name=name, roles=("worker",), zone="z", capacity=4, tell=lambda: told, now=now, monotonic=monotonic
    )


async def seen(store: Store) -> list[Seen]:
    return await store.read(lambda connection: fleet.read(connection, int(now().timestamp() * 1000)))


async def until(store: Store, state: str) -> Seen:
    async with asyncio.timeout(30):
        while True:
            found = await seen(store)
            if found and found[0].state == state:
                return found[0]
            await asyncio.sleep(0.02)


async def test_the_row_says_what_the_process_does_and_goes_with_it(store: Store) -> None:
    told: dict[str, Any] = {"draining": False, "running": {"f": 2}, "events": {"f": 1}, "problems": []}
    mine = present(store, told)
    mine.start()
    found = await until(store, "working")
    assert (found.id, found.roles, found.zone, found.capacity) == ("p", ("worker",), "z", 4)
    assert (found.running, found.events) == ({"f": 2}, {"f": 1})
    told["draining"] = True
    mine.say()
    began = monotonic()
    await until(store, "draining")
    assert monotonic() - began < 1.9, "it is said at once, not with the next heartbeat"
    assert mine.problem() is None
    await mine.close()
    await mine.close()
    assert await seen(store) == []


async def test_rows_of_the_killed_are_silent_and_forgotten_after_a_day(store: Store) -> None:
    for name, age in (("killed", timedelta(seconds=16)), ("long ago", timedelta(days=1, seconds=1))):
        row = {"id": name, "roles": "worker", "host": "h", "pid": 1, "zone": "", "capacity": 4, "started_ms": 1,
               "heartbeat_ms": int((now() - age).timestamp() * 1000), "document": "{}"}  # fmt: skip
        await store.write(lambda c, row=row: c.execute(insert(process), row))
    mine = present(store, {})
    mine.start()
    await until(store, "working")
    assert {found.id: found.state for found in await seen(store)} == {"p": "working", "killed": "silent"}
    await mine.close()


async def test_a_store_that_takes_no_heartbeats_is_reported_and_closing_does_not_wait_for_it(store: Store) -> None:
    class Stuck:
        def upsert(self, *of: Any) -> Any:
            return store.upsert(*of)

        async def write(self, work: Any) -> None:
            await asyncio.Event().wait()

    at = [100.0]
    mine = Presence(
        Stuck(),  # type: ignore[arg-type]
        name="p", roles=("worker",), zone="", capacity=1, tell=dict, now=now, monotonic=lambda: at[0],
    )  # fmt: skip
    mine.start()
    await asyncio.sleep(0.05)
    codes = []
    for at[0] in (100.5, 101.5, 105.0):
        problem = mine.problem()
        codes.append(problem and (problem.code, problem.disabling))
    assert codes == [None, (Code.LAGGING, False), (Code.STORE_UNAVAILABLE, True)]
    async with asyncio.timeout(presence.LEAVING.total_seconds() + 5):
        await mine.close()
