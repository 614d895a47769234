"""Shares of the account's concurrency in a real store, with several workers that beat at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select, update

from fnrunner.catalogue import Catalogue, concurrency
from fnrunner.catalogue.artifacts import Artifacts
from fnrunner.concurrency.permits import LocalPermits
from fnrunner.concurrency.scaling import Starts
from fnrunner.model.arn import Home
from fnrunner.model.function import Code, Function
from fnrunner.model.invocation import Throttled
from fnrunner.model.provisioned import Key, ProvisionedConcurrency, Status
from fnrunner.store.engine import Store
from fnrunner.store.schema import prepared, worker
from fnrunner.worker import shares as module
from fnrunner.worker.provisioner import Provisioner
from fnrunner.worker.registry import Registry
from fnrunner.worker.shares import Shares
from fnrunner.worker.starting import StartLine
from tests.api_server import CODE

HOME = Home()
LIMIT = 200


def now() -> datetime:
    return datetime.now(UTC)


def catalogue_on(store: Store, directory: Path) -> Catalogue:
    return Catalogue(store, Artifacts(directory / "artifacts"), HOME, now, account_concurrency=LIMIT)


async def function(catalogue: Catalogue, name: str, reserved: int | None = None) -> None:
    draft = Function(
        name,
        "python3.11",
        "app.handler",
        Code("", 0),
        "arn:aws:iam::000000000000:role/r",
        reserved_concurrency=reserved,
    )
    await catalogue.create_function(draft, CODE, publish=True)


@dataclass
class Ready:
    """In the place of the provisioner: what it holds is ready at once, and runs as the test says."""

    held: dict[Key, int] = field(default_factory=dict)
    busy: dict[Key, int] = field(default_factory=dict)
    suspended: bool = False

    def lower(self, target: dict[Key, int]) -> None: ...

    def aim(self, held: dict[Key, int], target: dict[Key, int]) -> None:
        self.held, self.suspended = dict(held), False

    def suspend(self) -> None:
        self.suspended = True

    def running(self) -> dict[Key, int]:
        return {key: self.busy.get(key, 0) for key in self.held}

    def prepared(self) -> dict[Key, tuple[int, str]]:
        return {key: (number, "") for key, number in self.held.items()}


class Worker:
    """A worker's registry, shares and slots. Its process is this one, so nobody believes it dead."""

    def __init__(self, store: Store, directory: Path, name: str, capacity: int) -> None:
        self.store, self.name = store, name
        self.catalogue = catalogue_on(store, directory)
        self.permits = LocalPermits(capacity)
        self.ready = Ready()
        self.line = StartLine(Starts(1000), lambda: 0.0)
        self.shares = Shares(
            catalogue=self.catalogue,
            permits=self.permits,
            provisioner=cast(Provisioner, self.ready),
            line=self.line,
            worker_id=name,
            capacity=capacity,
        )
        self.registry = Registry(store, worker_id=name, zone="", capacity=capacity, now=now, shares=self.shares)

    async def beat(self) -> None:
        await self.registry.beat({})
        await self.registry.watch()

    async def run(self, name: str, many: int) -> list[Any]:
        """So many invocations, as far as they may start."""
        leases = [await self.permits.acquire(name) for _ in range(many)]
        return [lease for lease in leases if not isinstance(lease, Throttled)]


@pytest.fixture
async def stores(store_url: str) -> AsyncIterator[list[Store]]:
    """A store for each worker, as processes have them."""
    found = [Store(store_url) for _ in range(4)]
    for store in found:
        await store.start()
    yield found
    for store in found:
        await store.close()


@pytest.fixture
async def fleet(stores: list[Store], tmp_path: Path) -> AsyncIterator[list[Worker]]:
    """Four workers that want twice of what there is, and have not entered."""
    workers = [Worker(store, tmp_path, f"w{n}", LIMIT // 2) for n, store in enumerate(stores)]
    yield workers
    for one in workers:
        one.shares.close()


async def shares_of(store: Store) -> dict[str, int]:
    living = worker.c.stopped_ms.is_(None) & worker.c.died_ms.is_(None)
    query = select(worker.c.id, worker.c.share).where(living)
    return {row.id: row.share for row in await store.read(lambda c: c.execute(query).all())}


async def every_beat(workers: list[Worker], rounds: int = 3) -> None:
    for _ in range(rounds):
        await asyncio.gather(*(one.beat() for one in workers))


async def test_workers_that_enter_at_once_never_hold_more_than_there_is_and_come_to_equal_shares(
    fleet: list[Worker],
) -> None:
    await asyncio.gather(*(one.registry.enter() for one in fleet))
    assert sum((await shares_of(fleet[0].store)).values()) <= LIMIT
    for _ in range(3):
        await every_beat(fleet, 1)
        assert sum((await shares_of(fleet[0].store)).values()) <= LIMIT
    assert set((await shares_of(fleet[0].store)).values()) == {LIMIT // 4}
    assert sum([len(await one.run("f", LIMIT)) for one in fleet]) == LIMIT


async def test_what_a_worker_leaves_or_a_dead_one_held_goes_to_the_others(fleet: list[Worker]) -> None:
    for one in fleet:
        await one.registry.enter()
    await every_beat(fleet)
    await fleet[3].registry.leave()
    # as whoever found its process gone writes it down
    await fleet[0].store.write(lambda c: c.execute(update(worker).where(worker.c.id == "w2").values(died_ms=1)))
    await every_beat(fleet[:2])
    assert await shares_of(fleet[0].store) == {"w0": LIMIT // 2, "w1": LIMIT // 2}


async def test_a_worker_that_was_believed_dead_takes_only_what_is_left(fleet: list[Worker]) -> None:
    first, second = fleet[:2]
    third = fleet[2]
    for one in (first, second, third):
        await one.registry.enter()
    await every_beat([first, second, third])
    running = await third.run("f", 40)
    await first.store.write(lambda c: c.execute(update(worker).where(worker.c.id == "w2").values(died_ms=1)))
    await every_beat([first, second])
    assert sum((await shares_of(first.store)).values()) == LIMIT
    await third.beat()
    found = await shares_of(first.store)
    assert (found["w2"], sum(found.values())) == (0, LIMIT)
    assert await third.run("f", 1) == []
    await every_beat([first, second, third])
    assert sum((await shares_of(first.store)).values()) == LIMIT
    for lease in running:
        await lease.release()
    assert len(await third.run("f", LIMIT)) == third.shares.room > 0


async def test_a_growing_reservation_shrinks_shares_to_what_runs_at_least(fleet: list[Worker]) -> None:
    first, second = fleet[:2]
    for one in (first, second):
        await one.registry.enter()
    await every_beat([first, second])
    busy = await first.run("f", LIMIT)
    assert len(busy) == LIMIT // 2
    await function(first.catalogue, "mine", 100)
    await every_beat([first, second])
    assert await shares_of(first.store) == {"w0": LIMIT // 2, "w1": 0}
    assert await first.run("f", 1) == []
    for lease in busy:
        await lease.release()
    await every_beat([first, second])
    assert await shares_of(first.store) == {"w0": 50, "w1": 50}


async def test_a_reserved_function_runs_beside_the_share(fleet: list[Worker]) -> None:
    one = fleet[0]
    await function(one.catalogue, "mine", 100)
    await one.registry.enter()
    assert len(await one.run("f", LIMIT)) == LIMIT // 2
    assert one.permits.slots.capacity == LIMIT // 2
    assert one.permits.slots.unreserved_running == LIMIT // 2


async def test_the_share_is_settled_at_once_when_what_is_reserved_has_changed_and_not_otherwise(
    fleet: list[Worker],
) -> None:
    one = fleet[0]
    await one.registry.enter()
    former = (await one.store.read(lambda c: c.execute(select(worker)).one())).heartbeat_ms
    await function(one.catalogue, "other")
    await one.registry.settle({})
    assert (await one.store.read(lambda c: c.execute(select(worker)).one())).heartbeat_ms == former
    await function(one.catalogue, "mine", 80)
    await function(one.catalogue, "more", 20)
    await one.registry.settle({})
    assert one.shares.room == LIMIT // 2
    await one.catalogue.set_concurrency("mine", 50)
    await one.catalogue.set_concurrency("more", 50)
    await one.registry.settle({})
    assert await shares_of(one.store) == {"w0": 100}


async def test_nothing_is_taken_by_what_was_known_before_the_last_change(fleet: list[Worker]) -> None:
    first, second = fleet[:2]
    proposal = await first.shares.propose()
    await function(second.catalogue, "mine", 100)
    settled = await first.store.write(lambda connection: first.shares.settle(connection, proposal))
    assert settled.held.share == 0
    await first.registry.enter()
    assert await shares_of(first.store) == {"w0": 100}


async def test_without_a_heartbeat_for_a_while_nothing_unreserved_starts_until_the_next(
    fleet: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNSURE", timedelta(milliseconds=50))
    one = fleet[0]
    await function(one.catalogue, "mine", 10)
    await one.registry.enter()
    async with asyncio.timeout(20):
        while not one.ready.suspended:
            await asyncio.sleep(0.01)
    assert await one.run("f", 1) == []
    assert len(await one.run("mine", 1)) == 1
    monkeypatch.setattr(module, "UNSURE", timedelta(minutes=1))
    await one.beat()
    assert len(await one.run("f", 1)) == 1


async def test_provisioned_concurrency_is_divided_exactly_and_comes_out_of_the_pool(fleet: list[Worker]) -> None:
    catalogue = fleet[0].catalogue
    await function(catalogue, "f")
    wanted = ProvisionedConcurrency("f", "1", 30, now())
    await catalogue.change(lambda c: concurrency.put(c, HOME, wanted, LIMIT))
    await asyncio.gather(*(one.registry.enter() for one in fleet))
    await every_beat(fleet, 5)
    key = ("f", "1", "1")
    assert sum(one.ready.held.get(key, 0) for one in fleet) == 30
    assert sum((await shares_of(fleet[0].store)).values()) == LIMIT - 30
    found = await catalogue.read(lambda c: concurrency.progress(c, wanted))
    assert (found.state.status, found.state.allocated, found.state.available) == (Status.READY, 30, 30)
    await fleet[3].registry.leave()
    rows = await fleet[0].store.read(lambda c: c.execute(select(prepared.c.worker)).scalars().all())
    assert "w3" not in rows
    await every_beat(fleet[:3])
    assert sum(one.ready.held.get(key, 0) for one in fleet[:3]) == 30


async def test_a_removed_configuration_gives_back_what_is_not_used_and_the_rest_later(fleet: list[Worker]) -> None:
    one, key = fleet[0], ("f", "1", "1")
    await function(one.catalogue, "f")
    wanted = ProvisionedConcurrency("f", "1", 30, now())
    await one.catalogue.change(lambda c: concurrency.put(c, HOME, wanted, LIMIT))
    await one.registry.enter()
    assert one.ready.held == {key: 30}
    one.ready.busy = {key: 10}
    await one.catalogue.change(lambda c: concurrency.remove(c, HOME, "f", "1"))
    await one.beat()
    assert one.ready.held == {key: 10}
    one.ready.busy = {}
    await one.beat()
    assert one.ready.held == {}


async def test_everybody_allows_its_part_of_the_scaling_rate(fleet: list[Worker]) -> None:
    for one in fleet:
        await one.registry.enter()
    await every_beat(fleet, 1)
    assert {one.line._starts.share for one in fleet} == {250}
