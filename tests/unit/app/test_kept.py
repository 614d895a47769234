"""Sources that are kept as the catalogue wants them: whatever one of them does, the others follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fnrunner.app.kept import Kept
from sources.errors import CheckpointsUnavailable, Misconfigured
from sources.source import Condition, Health
from tests.unit.sources.virtual_time import in_virtual_time


class FakeSource:
    """``slow`` is how long starting and closing take, in seconds."""

    def __init__(self, configuration: str, slow: float = 0.0) -> None:
        self.configuration = configuration
        self.condition = Condition.STARTING
        self.fault: Exception | None = None
        self._slow = slow

    @property
    def name(self) -> str:
        return self.configuration

    async def start(self) -> None:
        await asyncio.sleep(self._slow)
        if self.fault is not None:
            raise self.fault
        self.condition = Condition.WATCHING

    async def close(self) -> None:
        if self.condition is not Condition.CLOSED:
            await asyncio.sleep(self._slow)
        self.condition = Condition.CLOSED

    def health(self) -> Health:
        return Health(self.condition)

    async def reconfigure(self, configuration: Any) -> None:
        self.configuration = configuration


class World:
    """What was made, and what is left of what has gone."""

    def __init__(self) -> None:
        self.made: list[FakeSource] = []
        self.gone: list[str] = []
        self.slow: Callable[[str], float] = lambda value: 0.0
        self.store_fault: Exception | None = None
        self.kept: Kept[str] = Kept("thing", configuration=str, make=self.make, gone=self.forget, remedy="Correct it")

    def make(self, value: str) -> FakeSource:
        if value == "bad":
            raise Misconfigured("it is bad")
        self.made.append(FakeSource(value, self.slow(value)))
        return self.made[-1]

    async def forget(self, name: str) -> None:
        if self.store_fault is not None:
            raise self.store_fault
        self.gone.append(name)


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_one_that_takes_long_to_start_holds_up_no_other_and_no_later_change() -> None:
    world, began = World(), now()
    world.slow = lambda value: 10.0 if value == "slow" else 0.0
    await world.kept.follow({"a": "slow", "b": "quick"})
    await world.kept.follow({"a": "slow", "b": "quick", "c": "quick"})
    assert now() - began < 5
    assert {name: state.condition for name, state in world.kept.health().items()} == {
        "a": Condition.STARTING,
        "b": Condition.WATCHING,
        "c": Condition.WATCHING,
    }
    assert set(world.kept.followed) == {"b", "c"}
    await asyncio.sleep(10)
    assert set(world.kept.followed) == {"a", "b", "c"}
    await world.kept.close()


@in_virtual_time
async def test_hundreds_that_take_long_start_and_go_side_by_side() -> None:
    world, began = World(), now()
    world.slow = lambda value: 10.0
    await world.kept.follow({str(n): "slow" for n in range(320)})
    await asyncio.sleep(50)
    assert len(world.kept.followed) == 320
    await world.kept.follow({})
    await asyncio.sleep(50)
    assert len(world.gone) == 320
    assert now() - began < 110
    await world.kept.close()


@in_virtual_time
async def test_what_is_wanted_while_one_still_starts_is_done_next_and_told_only_then() -> None:
    world = World()
    world.slow = lambda value: 10.0
    await world.kept.follow({"a": "one"})
    await world.kept.follow({"a": "two"})
    assert world.kept.followed == {}
    await asyncio.sleep(10)
    assert [source.configuration for source in world.made] == ["two"]
    assert world.kept.followed == {"a": "two"}
    await world.kept.close()


@in_virtual_time
async def test_one_that_says_it_still_starts_is_not_followed_yet() -> None:
    world = World()
    await world.kept.follow({"a": "one"})
    world.made[0].condition = Condition.STARTING
    assert world.kept.followed == {}
    world.made[0].condition = Condition.OUTAGE
    assert world.kept.followed == {"a": "one"}
    await world.kept.close()


@in_virtual_time
async def test_what_cannot_be_forgotten_is_said_and_tried_again_and_keeps_nobody_from_going() -> None:
    world = World()
    await world.kept.follow({"a": "one", "b": "one"})
    world.store_fault = CheckpointsUnavailable("the store is away")
    await world.kept.follow({"c": "one"})
    assert world.kept.followed == {"c": "one"}
    assert sorted(problem.part for problem in world.kept.problems()) == ["thing a", "thing b"]
    world.store_fault = None
    await asyncio.sleep(2)
    assert sorted(world.gone) == ["a", "b"]
    assert set(world.kept.health()) == {"c"}
    assert list(world.kept.problems()) == []
    await world.kept.close()


@in_virtual_time
async def test_one_that_comes_back_before_it_could_be_forgotten_is_made_anew() -> None:
    world = World()
    await world.kept.follow({"a": "one"})
    world.store_fault = CheckpointsUnavailable("the store is away")
    await world.kept.follow({})
    await world.kept.follow({"a": "one"})
    world.store_fault = None
    await asyncio.sleep(2)
    assert world.gone == ["a"]
    assert [source.condition for source in world.made] == [Condition.CLOSED, Condition.WATCHING]
    assert world.kept.followed == {"a": "one"}
    await world.kept.close()


@in_virtual_time
async def test_one_that_is_refused_says_why_until_it_is_corrected_or_removed() -> None:
    world = World()
    await world.kept.follow({"a": "bad", "b": "bad", "c": "good"})
    assert world.kept.refused == {"a": "it is bad", "b": "it is bad"}
    assert set(world.kept.health()) == {"c"}
    assert set(world.kept.followed) == {"a", "b", "c"}  # what has become of them can be told
    await world.kept.follow({"a": "good", "c": "good"})
    assert (world.kept.refused, set(world.kept.followed)) == ({}, {"a", "c"})
    await world.kept.close()


@in_virtual_time
async def test_one_whose_start_failed_is_made_anew_at_the_next_change() -> None:
    world, make = World(), World.make

    def broken(value: str) -> FakeSource:
        source = make(world, value)
        source.fault = RuntimeError("broken") if len(world.made) == 1 else None
        return source

    kept: Kept[str] = Kept("thing", configuration=str, make=broken)
    await kept.follow({"a": "one"})
    assert kept.refused == {"a": "broken"}
    await kept.follow({"a": "one"})
    assert kept.refused == {}
    assert [source.condition for source in world.made] == [Condition.CLOSED, Condition.WATCHING]
    await kept.close()


@in_virtual_time
async def test_closing_closes_all_whatever_one_of_them_does_and_nothing_begins_after_it() -> None:
    world, began = World(), now()

    class Stubborn(FakeSource):
        async def close(self) -> None:
            raise RuntimeError("it cannot be closed")

    world.made.append(Stubborn("stubborn"))
    kept: Kept[str] = Kept(
        "thing", configuration=str, make=lambda value: world.made[0] if value == "stubborn" else world.make(value)
    )
    await kept.follow({"a": "stubborn", "b": "quick", "c": "quick"})
    await kept.close()
    await kept.follow({"d": "quick"})
    assert [source.condition for source in world.made[1:]] == [Condition.CLOSED, Condition.CLOSED]
    assert now() - began < 10
