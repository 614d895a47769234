"""Provisioned environments in the pool, and whoever keeps them ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, cast

import pytest

from fnrunner.catalogue import Catalogue
from fnrunner.concurrency.permits import LocalPermits
from fnrunner.concurrency.scaling import Starts
from fnrunner.model.function import Code, Function
from fnrunner.model.invocation import EnvironmentSpec, Throttled
from fnrunner.model.provisioned import INIT_FAILED, Key
from fnrunner.worker.environment import Environment, EnvironmentState
from fnrunner.worker.invoker import Specs
from fnrunner.worker.pool import InitFailed, NoRoom, Pool
from fnrunner.worker.provisioner import Provisioner
from fnrunner.worker.starting import ScalingLimited, StartLine

PROVISIONED = "provisioned-concurrency"
KEY: Key = ("f", "live", "1")
PATIENCE_S = 20


def spec(function: str = "f", version: str = "1", key: str = "") -> EnvironmentSpec:
    key = key or f"{function}:{version}"
    return EnvironmentSpec(
        function, version, "python3.11", "a.b", "/x", 128, 512, timedelta(seconds=3), key, "", "", ""
    )


@dataclass
class Fake:
    """An environment that starts at once, unless its initialisation fails."""

    spec: EnvironmentSpec
    cold_reason: str
    environment_id: str
    fails: bool
    state: EnvironmentState = EnvironmentState.STARTING
    stops: int = 0
    resting: bool = False
    outgrown: bool = False
    age: timedelta = timedelta(0)

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def initialised(self) -> bool:
        return not self.fails

    async def start(self) -> None:
        self.state = EnvironmentState.IDLE

    async def stop(self, grace: timedelta) -> None:
        self.stops += 1
        self.state = EnvironmentState.GONE


@dataclass
class Bench:
    capacity: int = 4
    rate: int = 1000
    made: list[Fake] = field(default_factory=list)
    now: float = 0.0
    fails: bool = False

    def __post_init__(self) -> None:
        ids = count()

        def make(wanted: EnvironmentSpec, why: str) -> Environment:
            self.made.append(Fake(wanted, why, f"e{next(ids)}", self.fails))
            return cast(Environment, self.made[-1])

        line = StartLine(Starts(self.rate), lambda: self.now)
        idle = timedelta(seconds=60)
        self.pool = Pool(make, capacity=self.capacity, idle_timeout=idle, monotonic=lambda: self.now, line=line)
        self.permits = LocalPermits(self.capacity)
        self.provisioner = Provisioner(
            pool=self.pool,
            specs=cast(Specs, self),
            permits=self.permits,
            catalogue=cast(Catalogue, self),
            monotonic=lambda: self.now,
        )

    async def of(self, function: Function) -> EnvironmentSpec:
        return spec(function.name, function.version)

    def lookup(self, name: str, version: str) -> Function | None:
        return Function(name, "python3.11", "a.b", Code("", 0), "role", version=version)

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not what():
                await asyncio.sleep(0.005)

    @property
    def provisioned(self) -> list[Fake]:
        found = [one for one in self.made if one.spec.initialization_type == PROVISIONED]
        return [one for one in found if one.state is not EnvironmentState.GONE]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.provisioner.start()
    yield made
    await made.provisioner.close()
    await made.pool.close()


async def test_a_provisioned_environment_is_taken_by_whoever_has_its_slot_and_by_nobody_else() -> None:
    pool = (bench := Bench()).pool
    await pool.prepare(spec())
    other: Any = await pool.take(spec())
    assert other.spec.initialization_type == "on-demand"
    mine: Any = await pool.take(spec(), kept=True)
    assert mine.environment_id == bench.made[0].environment_id
    pool.give_back(mine)
    pool.give_back(other)
    assert await pool.take(spec(), kept=True) is mine
    assert await pool.take(spec(), kept=True) is other


async def test_neither_time_nor_another_functions_need_of_room_ends_a_provisioned_environment() -> None:
    pool = (bench := Bench(capacity=2)).pool
    await pool.prepare(spec())
    for n in range(3):
        bench.now += 1000
        pool.give_back(await pool.take(spec(f"flood{n}")))
        pool.reap()
    await pool.close()
    assert [one.stops for one in bench.made] == [1, 1, 1, 1]
    assert pool.kept(("f", "1")) == 0


async def test_provisioned_environments_survive_until_the_pool_closes() -> None:
    pool = (bench := Bench(capacity=2)).pool
    await pool.prepare(spec())
    bench.now += 1000
    pool.reap()
    pool.give_back(await pool.take(spec("flood")))
    pool.give_back(await pool.take(spec("more")))
    assert pool.kept(("f", "1")) == 1
    assert bench.made[0].stops == 0
    await pool.close()


async def test_there_is_room_for_a_provisioned_one_as_soon_as_one_is_idle() -> None:
    pool = Bench(capacity=1).pool
    taken = await pool.take(spec("busy"))
    with pytest.raises(NoRoom):
        await pool.prepare(spec())
    pool.give_back(taken)
    await pool.prepare(spec())
    assert (pool.kept(("f", "1")), len(pool)) == (1, 1)


async def test_one_whose_initialisation_fails_is_not_kept() -> None:
    pool = (bench := Bench()).pool
    bench.fails = True
    with pytest.raises(InitFailed):
        await pool.prepare(spec())
    assert (pool.kept(("f", "1")), len(pool)) == (0, 0)
    await pool.close()
    assert bench.made[0].stops == 1


async def test_of_a_surplus_idle_ones_stop_and_busy_ones_become_ordinary() -> None:
    pool = (bench := Bench()).pool
    for _ in range(3):
        await pool.prepare(spec())
    busy: Any = await pool.take(spec(), kept=True)
    pool.keep_no_more_than(("f", "1"), 0)
    assert pool.kept(("f", "1")) == 0
    pool.give_back(busy)
    assert await pool.take(spec()) is busy
    await pool.close()
    assert sorted(one.stops for one in bench.made) == [1, 1, 1]


async def test_without_a_start_left_nothing_is_made_and_what_stands_ready_is_taken_all_the_same() -> None:
    bench = Bench(rate=1)
    taken = await bench.pool.take(spec())
    with pytest.raises(ScalingLimited):
        await bench.pool.take(spec())
    assert len(bench.made) == 1
    waiting = asyncio.create_task(bench.pool.start_allowed("f", timedelta(seconds=PATIENCE_S)))
    await asyncio.sleep(0)
    bench.pool.give_back(taken)
    assert await waiting
    assert await bench.pool.take(spec()) is taken


async def test_outdated_provisioned_environments_make_room_for_those_of_the_new_code() -> None:
    pool = (bench := Bench(capacity=2)).pool
    for _ in range(2):
        await pool.prepare(spec(key="old"))
    pool.renew("f", "new", "1")
    assert pool.kept(("f", "1")) == 0
    for _ in range(2):
        await pool.prepare(spec(key="older"))
    await pool.prepare(spec(key="new"))
    assert (pool.kept(("f", "1")), len(pool)) == (1, 1)
    await pool.close()
    assert [one.stops for one in bench.made] == [1] * 5


async def test_preparing_is_not_bound_by_the_scaling_rate() -> None:
    bench = Bench(rate=1)
    for _ in range(3):
        await bench.pool.prepare(spec())
    assert bench.pool.kept(("f", "1")) == 3


async def test_what_is_held_is_prepared_and_gets_slots_of_its_own(bench: Bench) -> None:
    bench.provisioner.aim({KEY: 2}, {KEY: 2})
    await bench.until(lambda: bench.permits.slots.own("f", "1") == 2)
    lease = await bench.permits.acquire("f", timedelta(0), "1")
    assert not isinstance(lease, Throttled)
    assert lease.own_version == "1"
    assert dict(bench.provisioner.running()) == {KEY: 1}
    assert dict(bench.provisioner.prepared()) == {KEY: (2, "")}
    assert bench.permits.slots.shortage("flood") is None
    for _ in range(2):
        assert bench.permits.slots.take("flood")
    assert not bench.permits.slots.take("flood")


async def test_one_that_dies_is_replaced_and_has_no_slot_meanwhile(bench: Bench) -> None:
    bench.provisioner.aim({KEY: 1}, {KEY: 1})
    await bench.until(lambda: bench.permits.slots.own("f", "1") == 1)
    taken: Any = await bench.pool.take(spec(), kept=True)
    taken.state = EnvironmentState.GONE
    bench.pool.give_back(taken)
    assert bench.permits.slots.own("f", "1") == 0
    await bench.until(lambda: bench.permits.slots.own("f", "1") == 1)
    assert len(bench.made) == 2


async def test_one_that_dies_while_it_is_idle_is_replaced_too(bench: Bench) -> None:
    bench.provisioner.aim({KEY: 1}, {KEY: 1})
    await bench.until(lambda: bench.permits.slots.own("f", "1") == 1)
    bench.made[0].state = EnvironmentState.GONE
    await bench.until(lambda: len(bench.made) == 2 and bench.pool.kept(("f", "1")) == 1)


async def test_a_failed_initialisation_is_told_and_tried_again_after_a_while_that_doubles(bench: Bench) -> None:
    bench.fails = True
    bench.provisioner.aim({KEY: 1}, {KEY: 1})
    await bench.until(lambda: dict(bench.provisioner.prepared()) == {KEY: (0, INIT_FAILED)})
    for tries, later in ((2, 1.0), (3, 2.0)):
        bench.now += later - 0.1
        bench.provisioner.aim({KEY: 1}, {KEY: 1})
        await asyncio.sleep(0.02)
        assert len(bench.made) == tries - 1
        bench.now += 0.1
        bench.provisioner.aim({KEY: 1}, {KEY: 1})
        await bench.until(lambda tries=tries: len(bench.made) == tries)  # type: ignore[misc]
    bench.fails = False
    bench.now += 60
    bench.provisioner.aim({KEY: 1}, {KEY: 1})
    await bench.until(lambda: dict(bench.provisioner.prepared()) == {KEY: (1, "")})


async def test_a_version_that_is_wanted_no_more_stops_and_the_new_one_starts(bench: Bench) -> None:
    moved: Key = ("f", "live", "2")
    bench.provisioner.aim({KEY: 2}, {KEY: 2})
    await bench.until(lambda: bench.permits.slots.own("f", "1") == 2)
    bench.provisioner.lower({moved: 2})
    assert bench.permits.slots.own("f", "1") == 0
    await bench.until(lambda: bench.provisioned == [])
    bench.provisioner.aim({moved: 2}, {moved: 2})
    await bench.until(lambda: bench.permits.slots.own("f", "2") == 2)
    assert {one.spec.version for one in bench.provisioned} == {"2"}


async def test_two_names_of_one_version_add_up(bench: Bench) -> None:
    both: dict[Key, int] = {("f", "a", "1"): 1, ("f", "b", "1"): 2}
    bench.provisioner.aim(both, both)
    await bench.until(lambda: bench.permits.slots.own("f", "1") == 3)
    assert {key: n for key, (n, _) in bench.provisioner.prepared().items()} == both


async def test_while_the_store_is_out_of_reach_no_provisioned_slot_is_given(bench: Bench) -> None:
    bench.provisioner.aim({KEY: 1}, {KEY: 1})
    await bench.until(lambda: bench.permits.slots.own("f", "1") == 1)
    bench.provisioner.suspend()
    bench.made[0].state = EnvironmentState.GONE
    await bench.until(lambda: bench.pool.kept(("f", "1")) == 1)
    await asyncio.sleep(0.01)
    assert not bench.permits.slots.take_own("f", "1")
    bench.provisioner.aim({KEY: 1}, {KEY: 1})
    assert bench.permits.slots.take_own("f", "1")
