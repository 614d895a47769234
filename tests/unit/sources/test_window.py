from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources import window
from sources.invocation import Answered
from sources.partial import FailedWhole
from sources.window import Window, loaded, state_of, stored, window_at
from tests.unit.sources.stream_world import World, clock
from tests.unit.sources.virtual_time import in_virtual_time

MINUTE = timedelta(minutes=1)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


@given(moments, st.integers(1, 900))
def test_a_moment_is_in_its_window_and_windows_do_not_overlap(moment: datetime, seconds: int) -> None:
    size = timedelta(seconds=seconds)
    found = window_at(moment, size)
    assert found.start <= moment < found.end == found.start + size
    assert window_at(found.end, size).start == found.end


@given(moments, st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_window_is_read_as_it_was_stored(moment: datetime, state: dict[str, Any]) -> None:
    given = window_at(moment, MINUTE).with_state(state)
    assert loaded(json.loads(json.dumps(stored(given)))) == given


@pytest.mark.parametrize("answer", [b"", b"null", b"{}", b"[]", b'{"state": 1}', b'{"state": null}', b"oops", b"\xff"])
def test_an_answer_without_a_state_is_a_failure(answer: bytes) -> None:
    assert isinstance(state_of(Answered(answer)), FailedWhole)


def counting(datas: list[Any], event: dict[str, Any]) -> dict[str, Any]:
    return {"state": {"n": event["state"].get("n", 0) + len(datas)}}


def finals(world: World) -> list[tuple[str, Any]]:
    return [(e["window"]["start"], e["state"]) for e in world.invoker.events if e["isFinalInvokeForWindow"]]


async def spread(world: World, count: int, seconds: float) -> None:
    for n in range(count):
        world.stream.put("s0", n)
        await asyncio.sleep(seconds)


@in_virtual_time
async def test_state_goes_from_batch_to_batch_and_the_window_ends_with_one_more_invocation() -> None:
    world = World()
    world.invoker.function = counting
    began = clock()
    poller = await world.started(tumbling_window=MINUTE, batch_size=2)
    await spread(world, 30, 5)
    await world.until(lambda: sum(state["n"] for _, state in finals(world)) == 30)
    starts = [datetime.fromisoformat(start) for start, _ in finals(world)]
    assert starts == sorted(starts)
    assert starts[0] == window_at(began, MINUTE).start
    assert len(starts) in (3, 4)
    event = world.invoker.events[0]
    assert (event["shardId"], event["eventSourceARN"], event["state"]) == ("s0", world.mapping().source_arn, {})
    assert event["isWindowTerminatedEarly"] is event["isFinalInvokeForWindow"] is False
    for event in world.invoker.events:
        if event["isFinalInvokeForWindow"]:
            assert event["Records"] == []
    # a window that nothing was in is not ended
    await asyncio.sleep(600)
    assert len(finals(world)) == len(starts)
    assert world.place()["windows"] == {}
    await poller.close()


@in_virtual_time
async def test_a_take_over_goes_on_with_the_state() -> None:
    world = World()
    world.invoker.function = counting
    size = timedelta(minutes=15)
    for n in range(5):
        poller = await world.started(tumbling_window=size)
        world.stream.put("s0", n)
        await world.at(n)
        if n % 2:
            await poller.close()
        else:
            await world.crash(poller)
    assert world.place()["windows"]["0"]["state"] == {"n": 5}
    await world.started(tumbling_window=size)
    await world.until(lambda: finals(world), 1000)
    assert [state for _, state in finals(world)] == [{"n": 5}]
    await world.pollers[-1].close()


@in_virtual_time
async def test_an_answer_without_a_state_is_retried_and_leaves_the_state_as_it_was() -> None:
    world = World()
    answers: list[Any] = [{"state": {"n": 1}}, None, "oops", {"state": {"n": 2}}]
    world.invoker.function = lambda datas, event: answers.pop(0) if answers else counting(datas, event)
    poller = await world.started(tumbling_window=timedelta(minutes=15), batch_size=1)
    world.stream.put("s0", 0, 1)
    await world.at(1)
    assert [event["state"] for event in world.invoker.events] == [{}, {"n": 1}, {"n": 1}, {"n": 1}]
    await poller.close()


@in_virtual_time
async def test_a_state_over_one_megabyte_ends_the_window_early() -> None:
    world = World()
    world.invoker.function = lambda datas, event: {"state": {"big": "x" * (1 << 20)} if 1 in datas else {"n": 1}}
    poller = await world.started(tumbling_window=timedelta(minutes=15), batch_size=1)
    world.stream.put("s0", 0, 1, 2)
    await world.at(2)
    early = [event for event in world.invoker.events if event["isWindowTerminatedEarly"]]
    assert len(early) == 1
    assert early[0]["isFinalInvokeForWindow"] is True
    assert len(early[0]["state"]["big"]) == 1 << 20
    assert world.invoker.events[-1]["state"] == {}
    await poller.close()


@in_virtual_time
async def test_partial_progress_takes_the_state_and_a_failing_end_is_given_up_in_the_end() -> None:
    world = World()

    def function(datas: list[Any], event: dict[str, Any]) -> Any:
        if event["isFinalInvokeForWindow"]:
            raise ValueError("cannot sum up")
        done = datas.index(2) if 2 in datas and not event["state"] else len(datas)
        failures = [{"itemIdentifier": "2"}] if done < len(datas) else []
        return {"state": {"n": event["state"].get("n", 0) + done}, "batchItemFailures": failures}

    world.invoker.function = function
    poller = await world.started(tumbling_window=MINUTE, report_failures=True, maximum_retry_attempts=1)
    world.stream.put("s0", 0, 1, 2, 3)
    await world.at(3)
    assert world.place()["windows"]["0"]["state"] == {"n": 4}
    await world.until(lambda: world.letters.given, 200)
    (told,) = world.letters.given
    assert told.first.startswith("window ")
    assert json.loads(told.payload)["state"] == {"n": 4}
    assert told.attempts == 2
    await world.until(lambda: world.place()["windows"] == {}, 5)
    world.stream.put("s0", 4)
    await world.at(4)
    await poller.close()


@in_virtual_time
async def test_the_state_of_an_answer_that_made_no_progress_is_not_taken() -> None:
    world = World()

    def function(datas: list[Any], event: dict[str, Any]) -> Any:
        if 0 in datas:
            return {"state": {"n": 99}, "batchItemFailures": [{"itemIdentifier": "0"}]}
        return counting(datas, event)

    world.invoker.function = function
    poller = await world.started(tumbling_window=timedelta(minutes=15), report_failures=True, maximum_retry_attempts=1)
    world.stream.put("s0", 0, 1, 2)
    await world.at(2)
    assert [told.first for told in world.letters.given] == ["0"]
    assert world.place()["windows"]["0"]["state"] == {"n": 2}
    await poller.close()


@in_virtual_time
async def test_a_mapping_whose_windows_are_switched_off_ends_the_one_that_is_open() -> None:
    world = World()
    world.invoker.function = counting
    poller = await world.started(tumbling_window=timedelta(minutes=15), parallelization_factor=2)
    for n in range(20):
        world.stream.put("s0", n, key=f"k{n}")
    await world.at(19)
    assert set(world.place()["windows"]) == {"0", "1"}
    await poller.reconfigure(world.mapping())
    await world.until(lambda: len(finals(world)) == 2, 30)
    assert sum(state["n"] for _, state in finals(world)) == 20
    world.invoker.function = lambda datas, event: None
    world.stream.put("s0", 20)
    await world.at(20)
    assert "window" not in world.invoker.events[-1]
    assert world.place()["windows"] == {}
    await poller.close()


def test_the_event_says_which_window_it_is() -> None:
    given = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 1, tzinfo=UTC), {"n": 1})
    assert window.keys(given, "s", "a", final=True) == {
        "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z"},
        "state": {"n": 1},
        "shardId": "s",
        "eventSourceARN": "a",
        "isFinalInvokeForWindow": True,
        "isWindowTerminatedEarly": False,
    }
