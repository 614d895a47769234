"""Who is judged how, on a real store with real process ids."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

import pytest
from sqlalchemy import update

from broker.broker import Delivery
from broker.envelope import Envelope
from fnrunner.store.engine import Store
from fnrunner.store.schema import worker
from fnrunner.worker.registry import Registry
from fnrunner.worker.suspects import Suspects, Verdict

EVENT = Envelope(id="1", function="f", payload=b"{}", accepted_at_ms=0)


@dataclass
class Arrived:
    redelivered: bool


FIRST, AGAIN = cast(Delivery, Arrived(False)), cast(Delivery, Arrived(True))


def registry(store: Store, name: str) -> Registry:
    return Registry(store, worker_id=name, zone="", capacity=1, now=lambda: datetime.now(UTC))


def suspects(store: Store, me: Registry) -> Suspects:
    return Suspects(store, me, now=lambda: datetime.now(UTC), monotonic=time.monotonic)


@pytest.fixture
async def me(store: Store) -> Registry:
    found = registry(store, "me")
    await found.enter()
    return found


async def dead_neighbour(store: Store) -> Registry:
    """A worker whose process has ended without having drained."""
    other = registry(store, "other")
    await other.enter()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    await store.write(lambda c: c.execute(update(worker).where(worker.c.id == "other").values(pid=gone.pid)))
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
    long_ago = int(time.time() * 1000) - 10 * 365 * 86_400_000
    values = {"pid": os.getpid(), "started_ms": long_ago}
    await store.write(lambda c: c.execute(update(worker).where(worker.c.id == "other").values(values)))
    assert await me.is_dead("other")


async def test_a_worker_of_another_host_is_dead_when_its_heartbeat_is_old(store: Store, me: Registry) -> None:
    other = registry(store, "other")
    await other.enter()
    await store.write(lambda c: c.execute(update(worker).where(worker.c.id == "other").values(host="elsewhere")))
    assert not await me.is_dead("other")
    old = int(time.time() * 1000) - 60_000
    await store.write(lambda c: c.execute(update(worker).where(worker.c.id == "other").values(heartbeat_ms=old)))
    assert await me.is_dead("other")
    assert await me.is_dead("nobody knows it")
