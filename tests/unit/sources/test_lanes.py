from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sources.lanes import Ledger, lane_of
from sources.stream import Record
from tests.examples import EXAMPLES
from tests.unit.sources.stream_world import World
from tests.unit.sources.virtual_time import in_virtual_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(position: int, key: str = "") -> Record:
    return Record(position, key, NOW, {}, b"", f"i{position}")


@given(st.text(), st.integers(0, 10**30), st.integers(1, 10))
def test_a_record_has_one_lane_that_its_key_decides(key: str, position: int, factor: int) -> None:
    lane = lane_of(key, position, factor)
    assert 0 <= lane < factor
    assert lane == lane_of(key, position, factor)
    if key:
        assert lane == lane_of(key, position + 1, factor)


def test_records_without_a_key_are_spread() -> None:
    assert {lane_of("", position, 4) for position in range(100)} == {0, 1, 2, 3}


steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["skip", "add", "settle", "settle", "restart"])), max_size=200
)


@given(steps, st.lists(st.integers(1, 4), min_size=1, max_size=5))
@settings(deadline=None, max_examples=3 * EXAMPLES)
def test_nothing_unsettled_is_ever_passed_over_and_nothing_settled_done_again(
    steps: list[tuple[int, str]], factors: list[int]
) -> None:
    """A restart reads again from the low position on; records are known by their positions, keys and lanes by chance."""
    ledger = Ledger(factors[0])
    stream: list[tuple[Record, bool]] = []  # with whether it is to be skipped
    done: set[int] = set()
    lanes: list[list[int]] = [[] for _ in range(factors[0])]
    restarts = 0

    def hand_on(each: Record, skipped: bool) -> None:
        if ledger.covers(each):
            assert skipped or each.position in done, "an unsettled record was passed over"
            ledger.skip(each)
        elif skipped:
            ledger.skip(each)
        else:
            assert each.position not in done, "a settled record is done again"
            lanes[ledger.add(each)].append(each.position)

    for number, action in steps:
        if action in ("skip", "add"):
            each = record(len(stream), f"k{number}" if number else "")
            stream.append((each, action == "skip"))
            hand_on(each, action == "skip")
        elif action == "settle":
            if (lane := number % ledger.factor) < len(lanes) and lanes[lane]:
                done.add(lanes[lane][0])
                ledger.settle(lane, lanes[lane].pop(0))
        else:
            restarts += 1
            factor = factors[restarts % len(factors)]
            ledger = Ledger(factor, ledger.low, ledger.settled)
            lanes = [[] for _ in range(factor)]
            low = ledger.low.position if ledger.low else -1
            for each, skipped in stream[low + 1 :]:
                hand_on(each, skipped)
        low = ledger.low.position if ledger.low else -1
        assert all(each.position in done or skipped for each, skipped in stream[: low + 1])
        assert ledger.low is None or ledger.low.identity == f"i{low}"
        assert ledger.unsettled == sum(map(len, lanes))


def test_a_blocked_lane_costs_no_memory_for_what_the_others_do() -> None:
    ledger = Ledger(2)
    keys = {lane_of(key, 0, 2): key for key in "agbh"}
    ledger.add(record(0, keys[0]))
    for position in range(1, 50_000):
        ledger.add(record(position, keys[1]))
        ledger.settle(1, position)
    assert ledger.low is None
    assert len(ledger._entries) < 3_000
    ledger.settle(0, 0)
    assert ledger.low is not None
    assert ledger.low.position == 49_999
    assert ledger.settled == ()


def keyed(world: World, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        world.stream.put("s0", [f"k{n % 8}", n], key=f"k{n % 8}")


def in_order(seen: list[Any]) -> bool:
    last: dict[str, int] = {}
    for key, n in seen:
        if n < last.get(key, -1):
            return False
        last[key] = n
    return True


@in_virtual_time
async def test_lanes_run_side_by_side_and_keep_the_order_of_each_key() -> None:
    world = World()
    keyed(world, 160)
    most = 0

    async def slow() -> None:
        nonlocal most
        most = max(most, world.invoker.running)
        await asyncio.sleep(1)

    world.invoker.function = lambda datas, event: slow()
    poller = await world.started(parallelization_factor=4)
    await world.at(159)
    assert most == len({lane_of(f"k{n}", 0, 4) for n in range(8)}) > 1
    assert sorted(n for _, n in world.seen) == list(range(160))
    assert in_order(world.seen)
    await poller.close()


@in_virtual_time
async def test_a_blocked_lane_lets_the_others_go_on_for_a_while_and_a_restart_repeats_only_its_own() -> None:
    world = World()
    keyed(world, 2_000)
    blocked = lane_of("k3", 0, 4)

    def function(datas: list[Any], event: dict[str, Any]) -> None:
        if any(n == 3 for _, n in datas):
            raise ValueError("no")

    world.invoker.function = function
    first = await world.started(parallelization_factor=4)
    await asyncio.sleep(60)
    done = {n for key, n in world.seen if lane_of(key, 0, 4) != blocked}
    assert 200 < len(done) < 1_000
    assert int(world.place()["position"]) < 3
    await first.close()

    for factor in (4, 3):
        before = len(world.seen)
        poller = await world.started(parallelization_factor=factor)
        await asyncio.sleep(30)
        repeated = [each for each in world.seen[before:] if each[1] in done]
        assert repeated == []
        done |= {n for key, n in world.seen[before:] if lane_of(key, 0, factor) != lane_of("k3", 0, factor)}
        await poller.close()
    world.invoker.function = lambda datas, event: None
    poller = await world.started(parallelization_factor=3)
    await world.at(1_999)
    assert {n for _, n in world.seen} == set(range(2_000))
    await poller.close()
