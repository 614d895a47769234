"""Who is judged how, on a real store with real process ids."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy import Row, insert, select, update

from broker.broker import Delivery
from broker.envelope import Envelope
from fnrunner.store.engine import Store
from fnrunner.store.schema import trial, worker
from fnrunner.worker import registry as module
from fnrunner.worker.registry import BLIND, HEARTBEAT, STALE, Registry
from fnrunner.worker.suspects import Suspects, Verdict

EVENT = Envelope(id="1", function="f", payload=b"{}", accepted_at_ms=0)


@dataclass
class Arrived:
    redelivered: bool


FIRST, AGAIN = cast(Delivery, Arrived(False)), cast(Delivery, Arrived(True))


DAY_MS = 86_400_000


@dataclass
class Clock:
    at: float = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


def registry(store: Store, name: str, monotonic: Any = time.monotonic) -> Registry:
    return Registry(store, worker_id=name, zone="", capacity=1, now=lambda: datetime.now(UTC), monotonic=monotonic)


def suspects(store: Store, me: Registry) -> Suspects:
    return Suspects(store, me, now=lambda: datetime.now(UTC), monotonic=time.monotonic)


@pytest.fixture
async def me(store: Store, clock: Clock) -> Registry:
    found = registry(store, "me", clock)
    await found.enter()
    return found


async def change(store: Store, name: str, **values: object) -> None:
    await store.write(lambda c: c.execute(update(worker).where(worker.c.id == name).values(**values)))


async def row_of(store: Store, name: str) -> Row[Any] | None:
    return await store.read(lambda c: c.execute(select(worker).where(worker.c.id == name)).first())


async def elsewhere(store: Store, name: str) -> Registry:
    """A worker of another host, whose process ids mean nothing here."""
    other = registry(store, name)
    await other.enter()
    await change(store, name, host="elsewhere", boot_id="another", heartbeat_ms=1)
    return other


async def beats_go_by(store: Store, me: Registry, clock: Clock, seconds: float, *living: str) -> None:
    """``me`` writes and watches as it does; of the others only the ``living`` ones are heard of."""
    for _ in range(int(seconds / HEARTBEAT.total_seconds())):
        clock.at += HEARTBEAT.total_seconds()
        for name in living:
            await change(store, name, heartbeat_ms=int(clock.at * 1000))
        await me.beat({})
        await me.watch()


async def dead_neighbour(store: Store) -> Registry:
    """A worker whose process has ended without having drained."""
    other = registry(store, "other")
    await other.enter()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    await change(store, "other", pid=gone.pid)
    return other


async def test_a_first_delivery_is_ordinary(store: Store, me: Registry) -> None:
    assert await suspects(store, me).judge(EVENT, FIRST) is Verdict.ORDINARY


async def test_a_redelivery_is_ordinary_while_nobody_died(store: Store, me: Registry) -> None:
    living = registry(store, "living")
    await living.enter()
    assert await suspects(store, me).judge(EVENT, AGAIN) is Verdict.ORDINARY


async def test_a_worker_that_drained_makes_no_suspects(store: Store, me: Registry) -> None:
    other = await dead_neighbour(store)
    await other.leave()
    assert await suspects(store, me).judge(EVENT, AGAIN) is Verdict.ORDINARY


async def test_after_a_death_what_comes_again_runs_alone(store: Store, me: Registry) -> None:
    await dead_neighbour(store)
    assert await suspects(store, me).judge(EVENT, AGAIN) is Verdict.ALONE
    assert await suspects(store, me).judge(EVENT, FIRST) is Verdict.ORDINARY


async def test_an_event_marked_as_suspect_runs_alone_each_time(store: Store, me: Registry) -> None:
    assert await suspects(store, me).judge(replace(EVENT, suspect=True), FIRST) is Verdict.ALONE


async def test_only_what_was_on_trial_when_its_worker_died_is_guilty(store: Store, me: Registry) -> None:
    other = await dead_neighbour(store)
    await suspects(store, other).begin(EVENT)
    mine = suspects(store, me)
    assert await mine.judge(EVENT, AGAIN) is Verdict.GUILTY
    assert await mine.judge(replace(EVENT, id="neighbour"), AGAIN) is Verdict.ALONE
    await mine.end(EVENT)
    assert await mine.judge(EVENT, AGAIN) is Verdict.ALONE


async def test_a_trial_whose_worker_lives_charges_nothing(store: Store, me: Registry) -> None:
    mine = suspects(store, me)
    await mine.begin(EVENT)
    assert await mine.judge(EVENT, AGAIN) is Verdict.ALONE
    living = registry(store, "living")
    await living.enter()
    await suspects(store, living).begin(EVENT)
    assert await mine.judge(EVENT, AGAIN) is Verdict.ALONE


async def test_a_later_process_with_the_same_number_does_not_hide_a_death(store: Store, me: Registry) -> None:
    other = registry(store, "other")
    await other.enter()
    assert not await me.is_dead("other")
    await change(store, "other", pid=os.getpid(), process_start="1")
    assert await me.is_dead("other")


async def test_a_process_that_lives_is_alive_whatever_the_clocks_say(store: Store, me: Registry, clock: Clock) -> None:
    await registry(store, "living").enter()
    await change(store, "living", started_ms=1, heartbeat_ms=1)
    await beats_go_by(store, me, clock, 60)
    assert not await me.is_dead("living")
    assert await me.deaths_since(0) == 0
    await change(store, "living", started_ms=10**14, heartbeat_ms=10**14)
    assert not await me.is_dead("living")


async def test_a_process_that_goes_while_it_is_looked_at_is_dead(
    store: Store, me: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registry(store, "other").enter()

    def goes(self: object, *arguments: object, **more: object) -> str:
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr("pathlib.Path.read_text", goes)
    assert await me.is_dead("other")


async def test_a_worker_of_another_host_is_dead_when_its_heartbeat_was_seen_not_to_move(
    store: Store, me: Registry, clock: Clock
) -> None:
    for name in ("silent", "heard"):
        await elsewhere(store, name)
    await beats_go_by(store, me, clock, 2, "silent", "heard")
    await beats_go_by(store, me, clock, STALE.total_seconds() - 1, "heard")
    assert await me.deaths_since(0) == 0
    await beats_go_by(store, me, clock, 4, "heard")
    assert await me.deaths_since(0) == 1
    assert await me.is_dead("silent")
    heard = await row_of(store, "heard")
    assert heard is not None
    assert heard.died_ms is None


async def test_nobody_is_dead_for_a_heartbeat_that_is_old_by_our_wall_clock(
    store: Store, me: Registry, clock: Clock
) -> None:
    await elsewhere(store, "slow-clock")
    for beat in (1, 2, 3):
        await change(store, "slow-clock", heartbeat_ms=beat)
        await beats_go_by(store, me, clock, 10)
    assert await me.deaths_since(0) == 0


async def test_after_an_outage_of_the_store_nobody_is_dead_at_once(store: Store, me: Registry, clock: Clock) -> None:
    await elsewhere(store, "other")
    await beats_go_by(store, me, clock, 4, "other")
    clock.at += 10 * STALE.total_seconds()
    await me.watch()
    await me.beat({})
    await me.watch()
    await beats_go_by(store, me, clock, STALE.total_seconds() - 3)
    assert await me.deaths_since(0) == 0
    await beats_go_by(store, me, clock, 6)
    assert await me.deaths_since(0) == 1


async def test_while_the_store_takes_no_heartbeats_nobody_dies(store: Store, me: Registry, clock: Clock) -> None:
    await elsewhere(store, "other")
    await beats_go_by(store, me, clock, 4, "other")
    for _ in range(20):
        clock.at += HEARTBEAT.total_seconds()
        await me.watch()
    await me.beat({})
    await me.watch()
    assert clock.at > BLIND.total_seconds()
    assert await me.deaths_since(0) == 0


async def test_who_was_there_before_us_on_another_host_makes_suspects_until_it_is_heard_of(
    store: Store, clock: Clock
) -> None:
    await elsewhere(store, "before")
    me = registry(store, "me", clock)
    await me.enter()
    assert await suspects(store, me).judge(EVENT, AGAIN) is Verdict.ALONE
    assert await suspects(store, me).judge(EVENT, FIRST) is Verdict.ORDINARY
    await beats_go_by(store, me, clock, 2, "before")
    assert await suspects(store, me).judge(EVENT, AGAIN) is Verdict.ORDINARY


async def test_the_verdict_on_a_trial_of_another_host_waits_until_it_is_known(
    store: Store, me: Registry, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, look = asyncio.Event(), me._look

    async def heard_and_look() -> None:
        asked.set()
        await look()

    monkeypatch.setattr(module, "ASK_AGAIN", timedelta(milliseconds=10))
    monkeypatch.setattr(me, "_look", heard_and_look)
    other = await elsewhere(store, "other")
    await suspects(store, other).begin(EVENT)
    for living, verdict in ((("other",), Verdict.ALONE), ((), Verdict.GUILTY)):
        asked.clear()
        judging = asyncio.create_task(suspects(store, me).judge(EVENT, AGAIN))
        async with asyncio.timeout(30):
            await asked.wait()
        assert not judging.done()
        await beats_go_by(store, me, clock, STALE.total_seconds() + 3, *living)
        assert await judging is verdict
    assert await me.is_dead("nobody knows it")


async def test_who_was_found_dead_and_is_heard_of_again_lives(store: Store, me: Registry, clock: Clock) -> None:
    other = await elsewhere(store, "other")
    await beats_go_by(store, me, clock, STALE.total_seconds() + 3)
    assert await me.is_dead("other")
    await other.beat({})
    await me.watch()
    found = await row_of(store, "other")
    assert found is not None
    assert found.died_ms is None
    assert await me.deaths_since(0) == 0


async def test_who_comes_back_after_having_been_forgotten_is_entered_again(store: Store, me: Registry) -> None:
    await store.write(lambda c: c.execute(worker.delete()))
    await me.beat({"f": 2})
    found = await row_of(store, "me")
    assert found is not None
    assert (found.in_flight, found.pid) == ('{"f": 2}', os.getpid())


async def test_what_ended_more_than_a_day_ago_is_forgotten(store: Store, me: Registry, clock: Clock) -> None:
    now_ms = int(time.time() * 1000)
    for name, values in (
        ("stopped long ago", {"stopped_ms": now_ms - DAY_MS - 60_000}),
        ("died long ago", {"died_ms": now_ms - DAY_MS - 60_000}),
        ("stopped", {"stopped_ms": now_ms - DAY_MS + 60_000}),
        ("died", {"died_ms": now_ms - DAY_MS + 60_000}),
    ):
        await registry(store, name).enter()
        await change(store, name, **values)
    trials = [
        {"event_id": name, "redrives": 0, "worker": "w", "started_ms": started_ms, "deaths": 1}
        for name, started_ms in (("old", now_ms - DAY_MS - 60_000), ("young", now_ms))
    ]
    await store.write(lambda c: c.execute(insert(trial), trials))
    await me.watch()
    assert await store.read(lambda c: set(c.execute(select(worker.c.id)).scalars())) == {"me", "stopped", "died"}
    assert await store.read(lambda c: list(c.execute(select(trial.c.event_id)).scalars())) == ["young"]
    await change(store, "stopped", stopped_ms=1)
    await me.watch()
    assert await row_of(store, "stopped") is not None
    clock.at += 61
    await me.watch()
    assert await row_of(store, "stopped") is None
