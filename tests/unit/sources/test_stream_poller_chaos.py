"""Whatever fails, and whenever a process dies: nothing is left out, nothing is out of order, and repeats have a cause."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sources.invocation import Crashed, Deferred
from tests.unit.sources.stream_world import World, now
from tests.unit.sources.virtual_time import in_virtual_time

KEYS = 6


class Function:
    """Some records are poison, some fail a few times; now and then it is not run, is slow, or its worker dies."""

    def __init__(self, dice: random.Random, *, reports: bool) -> None:
        self.dice = dice
        self.reports = reports
        self.flaky: dict[int, int] = {}
        self.poison: set[int] = set()
        self.effects: list[tuple[float, int]] = []
        self.calm = False

    def __call__(self, datas: list[Any], event: dict[str, Any]) -> Any:
        return self.run([n for _, n in datas])

    async def run(self, numbers: list[int]) -> Any:
        if not self.calm:
            await asyncio.sleep(self.dice.choice([0, 0.01, 0.2, 3]))
            if self.dice.random() < 0.05:
                return Deferred("no capacity", throttled=True)
            if self.dice.random() < 0.03:
                return Crashed("killed")
        done = []
        for n in numbers:
            if n in self.poison or self.flaky.get(n, 0):
                self.flaky[n] = self.flaky.get(n, 0) - 1
                if not self.reports:
                    raise ValueError(f"record {n}")
                self.effects += [(now(), each) for each in done]
                return {"batchItemFailures": [{"itemIdentifier": str(n)}]}
            done.append(n)
        self.effects += [(now(), each) for each in done]
        return None


async def chaos(seed: int, factor: int, bisect: bool, reports: bool, kills: int) -> None:
    dice = random.Random(seed)
    world = World()
    function = Function(dice, reports=reports)
    world.invoker.function = function
    count = 150
    function.poison = {n for n in range(count) if dice.random() < 0.03}
    function.flaky = {n: dice.randint(1, 2) for n in range(count) if dice.random() < 0.05 and n not in function.poison}
    changes: dict[str, Any] = {
        "parallelization_factor": factor,
        "bisect": bisect,
        "report_failures": reports,
        "maximum_retry_attempts": 3,
        "batch_size": dice.choice([1, 7, 20]),
        "batching_window": timedelta(seconds=dice.choice([0, 2])),
    }
    disturbed: list[float] = []
    poller = await world.started(**changes)
    for n in range(count):
        world.stream.put("s0", [f"k{n % KEYS}", n], key=f"k{n % KEYS}")
        if dice.random() < 0.1:
            await asyncio.sleep(dice.random() * 5)
        if dice.random() < kills / count:
            disturbed.append(now())
            if dice.random() < 0.5:
                await world.crash(poller)
            else:
                await poller.close()
                assert world.store.owners == {}
            disturbed.append(now())
            poller = await world.started(**changes)
        if dice.random() < 0.02:
            world.letters.away = dice.randint(0, 3)
    await world.at(count - 1, seconds=10 * 3600)
    await poller.close()

    given_up = [int(n) for told in world.letters.given for n in range(int(told.first), int(told.last) + 1)]
    assert sorted(given_up) == sorted(set(given_up))
    effected = {n for _, n in function.effects}
    assert effected | set(given_up) == set(range(count)), "a record has vanished"
    assert set(given_up) <= set(function.poison) | set(function.flaky), "an innocent record was given up"
    assert function.poison <= set(given_up)
    assert not effected & function.poison
    assert_in_order(function.effects, disturbed)


def assert_in_order(effects: list[tuple[float, int]], disturbed: list[float]) -> None:
    """For each key: rising, but after a process had been ended, whose last work is done again."""
    last: dict[int, tuple[float, int]] = {}
    for at, n in effects:
        before = last.get(n % KEYS)
        if before is not None and n <= before[1]:
            assert any(before[0] - 20 <= moment <= at for moment in disturbed), f"record {n} again, for no reason"
        last[n % KEYS] = (at, n)


@given(st.integers(0, 2**32), st.sampled_from([1, 1, 3]), st.sampled_from([(True, False), (False, True), (True, True)]))
@settings(max_examples=15, deadline=None)
def test_through_failures_nothing_is_lost_reordered_or_repeated(seed: int, factor: int, how: tuple[bool, bool]) -> None:
    in_virtual_time(chaos)(seed, factor, *how, 0)


@given(st.integers(0, 2**32), st.sampled_from([1, 1, 3]), st.sampled_from([(True, False), (False, True), (True, True)]))
@settings(max_examples=15, deadline=None)
def test_through_kills_and_restarts_nothing_is_lost_or_reordered(
    seed: int, factor: int, how: tuple[bool, bool]
) -> None:
    in_virtual_time(chaos)(seed, factor, *how, 6)
