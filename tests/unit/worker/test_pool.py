import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, cast

import pytest

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.worker.environment import Environment, EnvironmentState
from fnrunner.worker.pool import Pool


def spec(key: str = "k", function: str = "f", version: str = "$LATEST") -> EnvironmentSpec:
    return EnvironmentSpec(
        function, version, "python3.11", "a.b", "/x", 128, 512, timedelta(seconds=3), key, "", "", ""
    )


@dataclass
class Fake:
    """An environment that starts at once and counts."""

    spec: EnvironmentSpec
    cold_reason: str
    environment_id: str
    refuses: bool = False
    state: EnvironmentState = EnvironmentState.STARTING
    stops: int = 0
    rested: asyncio.Event = field(default_factory=asyncio.Event)
    resting: bool = False
    outgrown: bool = False
    age: timedelta = timedelta(0)

    @property
    def key(self) -> str:
        return self.spec.key

    async def start(self) -> None:
        if self.refuses:
            raise OSError("no process")
        self.state = EnvironmentState.IDLE

    async def stop(self, grace: timedelta) -> None:
        self.stops += 1
        self.state = EnvironmentState.GONE
        self.rested.set()

    def answers_and_goes_on(self) -> None:
        self.state, self.resting = EnvironmentState.BUSY, True

    async def rest(self) -> None:
        await self.rested.wait()
        self.resting = False
        if self.state is EnvironmentState.BUSY:
            self.state = EnvironmentState.IDLE


@dataclass
class Bench:
    capacity: int = 4
    made: list[Fake] = field(default_factory=list)
    now: float = 0.0
    refuses: bool = False

    def __post_init__(self) -> None:
        ids = count()

        def make(wanted: EnvironmentSpec, why: str) -> Environment:
            self.made.append(Fake(wanted, why, str(next(ids)), self.refuses))
            return cast(Environment, self.made[-1])

        self.pool = Pool(make, capacity=self.capacity, idle_timeout=timedelta(seconds=60), monotonic=lambda: self.now)

    async def take(self, **which: str) -> Any:
        return await self.pool.take(spec(**which))


async def test_an_environment_that_was_given_back_is_taken_again() -> None:
    bench = Bench()
    first = await bench.take()
    bench.pool.give_back(first)
    assert await bench.take() is first
    assert len(bench.made) == 1


async def test_the_most_recently_used_is_taken_first_so_that_the_others_can_be_reaped() -> None:
    bench = Bench()
    first, second = await bench.take(), await bench.take()
    bench.pool.give_back(second)
    bench.pool.give_back(first)
    assert await bench.take() is first
    assert await bench.take() is second
    assert (await bench.take()).cold_reason == "scaled"


async def test_one_that_is_taken_is_never_given_to_another() -> None:
    bench = Bench()
    assert await bench.take() is not await bench.take()
    assert [made.cold_reason for made in bench.made] == ["first", "scaled"]


async def test_one_that_was_lost_is_not_kept_and_the_next_says_so() -> None:
    bench = Bench()
    first = await bench.take()
    first.state = EnvironmentState.GONE
    bench.pool.give_back(first)
    assert (await bench.take()).cold_reason == "crashed"
    await bench.pool.close()
    assert first.stops == 1


async def test_changed_code_stops_idle_environments_now_and_busy_ones_afterwards() -> None:
    bench = Bench()
    idle, busy = await bench.take(), await bench.take()
    bench.pool.give_back(idle)
    bench.pool.renew("f", "k2")
    assert (await bench.take(key="k2")).cold_reason == "reload"
    bench.pool.give_back(busy)
    await bench.pool.close()
    assert (idle.stops, busy.stops) == (1, 1)


async def test_a_full_pool_makes_room_by_the_longest_unused() -> None:
    bench = Bench(capacity=2)
    for n, name in enumerate("ab"):
        bench.now = float(n)
        taken = await bench.take(function=name, key=name)
        bench.pool.give_back(taken)
    await bench.take(function="c", key="c")
    assert len(bench.pool) == 2
    await bench.pool.close()
    assert [made.stops for made in bench.made] == [1, 1, 1]


async def test_what_is_unused_too_long_or_died_while_idle_is_reaped() -> None:
    bench = Bench()
    old, dead, fresh = [await bench.take() for _ in range(3)]
    bench.pool.give_back(old)
    bench.now = 50.0
    bench.pool.give_back(dead)
    bench.pool.give_back(fresh)
    dead.state = EnvironmentState.GONE
    bench.now = 70.0
    bench.pool.reap()
    assert len(bench.pool) == 1
    assert await bench.take() is fresh
    await bench.pool.close()


async def test_one_that_cannot_start_leaves_its_place_free() -> None:
    bench = Bench(refuses=True)
    with pytest.raises(OSError, match="no process"):
        await bench.take()
    assert len(bench.pool) == 0
    await bench.pool.close()


async def test_closing_stops_everything_and_twice_is_harmless() -> None:
    bench = Bench()
    idle, busy = await bench.take(), await bench.take()
    bench.pool.give_back(idle)
    await bench.pool.close()
    bench.pool.give_back(busy)
    await bench.pool.close()
    assert idle.stops == 1
    assert busy.stops >= 1


async def test_one_that_died_while_idle_is_not_taken() -> None:
    bench = Bench()
    first = await bench.take()
    bench.pool.give_back(first)
    first.state = EnvironmentState.GONE
    second = await bench.take()
    assert second is not first
    assert second.cold_reason == "crashed"
    await bench.pool.close()
    assert first.stops == 1


async def test_versions_of_a_function_are_kept_side_by_side() -> None:
    bench = Bench()
    latest, published = await bench.take(), await bench.take(key="k1", version="1")
    assert [made.cold_reason for made in bench.made] == ["first", "first"], "neither replaces or scales the other"
    bench.pool.give_back(latest)
    bench.pool.give_back(published)
    assert await bench.take(key="k1", version="1") is published
    assert await bench.take() is latest
    await bench.pool.close()


async def test_new_code_of_the_unpublished_function_leaves_its_versions_alone() -> None:
    bench = Bench()
    latest, published = await bench.take(), await bench.take(key="k1", version="1")
    bench.pool.give_back(latest)
    bench.pool.give_back(published)
    bench.pool.renew("f", "k2")
    assert await bench.take(key="k1", version="1") is published
    assert (await bench.take(key="k2")).cold_reason == "reload"
    await bench.pool.close()
    assert (latest.stops, published.stops) == (1, 1)


async def test_what_nothing_will_be_started_of_any_more_is_told() -> None:
    told: list[tuple[str, str | None, str]] = []
    pool = Pool(
        lambda wanted, why: pytest.fail("nothing is started"),
        capacity=1,
        idle_timeout=timedelta(seconds=60),
        monotonic=lambda: 0.0,
        on_outdated=lambda *which: told.append(which),
    )
    pool.renew("f", "new")
    pool.retire("f", "1")
    pool.retire("f")
    assert told == [("f", "$LATEST", "new"), ("f", "1", ""), ("f", None, "")]


async def test_a_version_retires_alone_and_a_function_with_all_its_versions() -> None:
    bench = Bench()
    latest, one, two = [await bench.take(key=v, version=v) for v in ("$LATEST", "1", "2")]
    for taken in (latest, one):
        bench.pool.give_back(taken)
    bench.pool.retire("f", "1")
    assert await bench.take(key="$LATEST") is latest
    bench.pool.give_back(latest)
    bench.pool.retire("f")
    assert len(bench.pool) == 1, "what runs may end"
    bench.pool.give_back(two)
    assert len(bench.pool) == 0
    await bench.pool.close()
    assert [taken.stops for taken in (latest, one, two)] == [1, 1, 1]


async def test_an_environment_whose_extension_is_at_work_is_in_use_until_it_rests() -> None:
    bench = Bench()
    first = await bench.take()
    first.answers_and_goes_on()
    rest = bench.pool.give_back(first)
    assert rest is not None
    assert (bench.pool.busy(), len(bench.pool)) == ({"f": 1}, 1)
    second = await bench.take()
    assert second is not first
    first.rested.set()
    await rest
    assert bench.pool.busy() == {"f": 1}
    assert await bench.take() is first


async def test_who_comes_a_moment_before_an_environment_rests_waits_for_it() -> None:
    bench = Bench()
    first = await bench.take()
    first.answers_and_goes_on()
    bench.pool.give_back(first)
    asyncio.get_running_loop().call_later(0.001, first.rested.set)
    assert await bench.take() is first
    assert len(bench.made) == 1


async def test_a_pool_that_closes_does_not_wait_for_extensions() -> None:
    bench = Bench()
    first = await bench.take()
    first.answers_and_goes_on()
    rest = bench.pool.give_back(first)
    await bench.pool.close()
    assert (first.state, rest is not None and rest.done(), len(bench.pool)) == (EnvironmentState.GONE, True, 0)


async def test_one_that_has_outgrown_its_memory_is_replaced_between_two_invocations() -> None:
    bench = Bench()
    first = await bench.take()
    first.outgrown = True
    bench.pool.give_back(first)
    second = await bench.take()
    assert second is not first
    assert second.cold_reason == "recycled"
    await bench.pool.close()
    assert first.stops == 1


async def test_one_that_is_too_old_is_replaced_idle_or_given_back() -> None:
    bench = Bench()
    first, second = await bench.take(), await bench.take()
    bench.pool.give_back(first)
    first.age = second.age = timedelta(hours=5)
    bench.pool.reap()
    third = await bench.take()
    assert third not in (first, second)
    bench.pool.give_back(second)
    await bench.pool.close()
    assert (first.stops, second.stops) == (1, 1)


async def test_what_replaces_one_that_was_too_old_says_so() -> None:
    bench = Bench()
    first = await bench.take()
    bench.pool.give_back(first)
    first.age = timedelta(hours=5)
    bench.pool.reap()
    assert (await bench.take()).cold_reason == "recycled"
