"""FleetGate: a slot and a permit or nothing, nothing idle that somebody could use, nothing leaked."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker.embedded.permits import ClientPermits, Counter, HeldPermit
from broker.errors import Unavailable
from fnrunner.concurrency.fleet import FleetGate
from fnrunner.concurrency.permits import Lease, LocalPermits, Patience
from fnrunner.model.invocation import Throttled, ThrottleReason

LONG = Patience(room=timedelta(seconds=30), turn=timedelta(seconds=30))
NONE = Patience()
AT_CAP, FULL = Throttled(ThrottleReason.RESERVED), Throttled(ThrottleReason.CAPACITY)


class Fleet:
    """Several workers that share permits."""

    def __init__(self) -> None:
        self.counters: dict[str, Counter] = {}
        self.held: set[HeldPermit] = set()
        self.problem: Exception | None = None

    def permits(self, name: str) -> ClientPermits:
        return ClientPermits(lambda: self._counter(name), self.held)

    def _counter(self, name: str) -> Counter:
        if self.problem is not None:
            raise self.problem
        return self.counters.setdefault(name, Counter())

    def worker(self, capacity: int = 4) -> tuple[FleetGate, LocalPermits]:
        slots = LocalPermits(capacity)
        return FleetGate(self.permits, slots), slots


async def lease(gate: FleetGate, function: str = "f", patience: Patience = LONG) -> Lease:
    got = await gate.acquire(function, patience)
    assert not isinstance(got, Throttled)
    return got


async def settled() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_all_workers_together_never_run_more_than_the_cap() -> None:
    fleet = Fleet()
    (one, _), (two, _) = fleet.worker(), fleet.worker()
    for gate in (one, two):
        await gate.set_cap("f", 3, 1)
    leases = [await lease(one), await lease(one), await lease(two)]
    assert await one.acquire("f", NONE) == AT_CAP
    assert await two.acquire("f", NONE) == AT_CAP
    await leases[0].release()
    leases[0] = await lease(two, patience=NONE)
    assert await one.acquire("f", NONE) == AT_CAP
    assert (one.running("f"), two.running("f")) == (1, 2)
    for held in leases:
        await held.release()
        await held.release()
    assert (one.running("f"), two.running("f"), fleet.counters["f"].held) == (0, 0, 0)


async def test_whoever_waits_gets_what_another_worker_releases() -> None:
    fleet = Fleet()
    (one, _), (two, slots) = fleet.worker(), fleet.worker()
    for gate in (one, two):
        await gate.set_cap("f", 1, 1)
    held = await lease(one)
    waiting = asyncio.create_task(lease(two))
    await settled()
    assert slots.slots.total == 0, "no room is held while it waits"
    await held.release()
    await (await waiting).release()
    assert fleet.counters["f"].held == 0


async def test_no_permit_is_held_while_a_full_worker_makes_room() -> None:
    fleet = Fleet()
    (full, _), (free, _) = fleet.worker(capacity=1), fleet.worker()
    for gate in (full, free):
        await gate.set_cap("f", 1, 1)
    other = await lease(full, "uncapped")
    waiting = asyncio.create_task(lease(full))
    await settled()
    await (await lease(free, patience=NONE)).release()
    await other.release()
    await (await waiting).release()


async def test_a_permit_that_comes_to_a_worker_that_has_filled_up_goes_on_to_the_next() -> None:
    fleet = Fleet()
    (one, _), (two, _) = fleet.worker(capacity=1), fleet.worker()
    for gate in (one, two):
        await gate.set_cap("f", 1, 1)
    held = await lease(two)
    first = asyncio.create_task(lease(one))
    await settled()
    second = asyncio.create_task(lease(two))
    await settled()
    other = await lease(one, "uncapped")
    await held.release()
    await (await second).release()
    assert not first.done()
    await other.release()
    await (await first).release()
    assert fleet.counters["f"].held == 0


async def test_a_full_worker_says_that_it_is_full_and_not_that_the_cap_is_reached() -> None:
    fleet = Fleet()
    gate, _ = fleet.worker(capacity=1)
    await gate.set_cap("f", 1, 1)
    await lease(gate, "uncapped")
    assert await gate.acquire("f", NONE) == FULL


async def test_urgent_ones_come_first() -> None:
    fleet = Fleet()
    (one, _), (two, _) = fleet.worker(), fleet.worker()
    for gate in (one, two):
        await gate.set_cap("f", 1, 1)
    held = await lease(one)
    event = asyncio.create_task(lease(two))
    await settled()
    request = asyncio.create_task(lease(two, patience=Patience(LONG.room, LONG.turn, urgent=True)))
    await settled()
    await held.release()
    await (await request).release()
    await (await event).release()


async def test_a_cap_that_moves_holds_at_every_moment() -> None:
    fleet = Fleet()
    gate, _ = fleet.worker(capacity=30)
    await gate.set_cap("f", 5, 1)
    leases = [await lease(gate) for _ in range(5)]
    await gate.set_cap("f", 1, 2)
    for held in leases[:4]:
        await held.release()
        assert await gate.acquire("f", NONE) == AT_CAP
    await gate.set_cap("f", 20, 3)
    more = [await lease(gate, patience=NONE) for _ in range(19)]
    assert await gate.acquire("f", NONE) == AT_CAP
    await gate.set_cap("f", 0, 4)
    for held in (*more, leases[4]):
        await held.release()
    assert await gate.acquire("f", LONG) == AT_CAP
    await gate.set_cap("f", 5, 5)
    assert len([await lease(gate, patience=NONE) for _ in range(5)]) == 5
    assert await gate.acquire("f", NONE) == AT_CAP


async def test_of_two_workers_the_one_that_knows_more_is_believed() -> None:
    fleet = Fleet()
    (late, _), (early, _) = fleet.worker(), fleet.worker()
    await early.set_cap("f", 1, 7)
    await (await lease(early)).release()
    await late.set_cap("f", 3, 6)
    await lease(late)
    assert await late.acquire("f", NONE) == AT_CAP


async def test_an_uncapped_function_asks_nobody() -> None:
    fleet = Fleet()
    fleet.problem = Unavailable("away")
    gate, _ = fleet.worker()
    held = await lease(gate)
    assert held.lost is None
    await held.release()


async def test_a_broker_that_is_away_leaks_nothing() -> None:
    fleet = Fleet()
    gate, slots = fleet.worker()
    await gate.set_cap("f", 2, 1)
    await (await lease(gate)).release()
    fleet.problem = Unavailable("away")
    with pytest.raises(Unavailable):
        await gate.acquire("f", LONG)
    assert slots.slots.total == 0


async def test_whoever_is_cancelled_leaves_nothing_behind() -> None:
    fleet = Fleet()
    gate, slots = fleet.worker()
    await gate.set_cap("f", 1, 1)
    held = await lease(gate)
    waiting = asyncio.create_task(gate.acquire("f", LONG))
    await settled()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await held.release()
    assert (slots.slots.total, fleet.counters["f"].held) == (0, 0)
    await (await lease(gate, patience=NONE)).release()


async def test_a_lost_permit_says_so() -> None:
    fleet = Fleet()
    gate, _ = fleet.worker()
    await gate.set_cap("f", 1, 1)
    held = await lease(gate)
    assert held.valid
    for permit in tuple(fleet.held):
        fleet.held.discard(permit)
        permit.lose()
    assert not held.valid
    assert held.lost is not None
    assert held.lost.is_set()
    await held.release()
    await (await lease(gate, patience=NONE)).release()


async def test_what_ran_before_the_cap_is_counted_in() -> None:
    fleet = Fleet()
    (one, _), (two, _) = fleet.worker(), fleet.worker()
    before = [await lease(one) for _ in range(2)]
    for gate in (one, two):
        await gate.set_cap("f", 2, 1)
    async with asyncio.timeout(10):
        while fleet.permits("f")._counter().held < 2:
            await asyncio.sleep(0.01)
    assert await two.acquire("f", NONE) == AT_CAP
    await before[0].release()
    after = await lease(two)
    assert await two.acquire("f", NONE) == AT_CAP
    await before[1].release()
    await after.release()
    async with asyncio.timeout(10):
        while fleet.permits("f")._counter().held:
            await asyncio.sleep(0.01)
    await one.close()
