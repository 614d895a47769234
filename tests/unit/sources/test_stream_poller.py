"""What a poller promises of order, of what is stored, and of what happens when something fails."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sources.errors import Misconfigured, SourceMissing, SourceUnavailable
from sources.invocation import Deferred
from sources.mapping import StartingPosition
from sources.source import Condition
from sources.stream import After, Begin
from sources.stream_poller import StreamPoller
from tests.unit.sources.stream_world import FakeClaim, World, clock, now
from tests.unit.sources.virtual_time import in_virtual_time


def fails_on(*guilty: object) -> Any:
    def function(datas: list[Any], event: dict[str, Any]) -> None:
        if set(guilty) & set(datas):
            raise ValueError("cannot digest")

    return function


async def close(world: World) -> None:
    for poller in world.pollers:
        await poller.close()
    assert world.store.owners == {}
    assert world.stream.readers == 0


@in_virtual_time
async def test_records_come_in_order_in_batches_and_the_position_is_stored() -> None:
    world = World()
    world.stream.put("s0", *range(25))
    poller = await world.started()
    await world.at(24)
    assert world.seen == list(range(25))
    assert [len(datas) for datas in world.invoker.calls] == [10, 10, 5]
    assert world.place()["result"] == "OK"
    assert world.place()["identity"] == "0/24"
    world.stream.put("s0", 25)
    await world.at(25)
    assert poller.health().condition is Condition.WATCHING
    assert poller.health().counters["records"] == 26
    assert poller.health().counters["invocations"] == 4
    await close(world)
    assert poller.health().condition is Condition.CLOSED


@in_virtual_time
async def test_nothing_is_said_to_be_processed_before_it_is() -> None:
    world = World()
    await world.started()
    assert world.place()["result"] == "No records processed"
    assert "position" not in world.place()
    await close(world)


@in_virtual_time
async def test_the_next_owner_goes_on_where_the_last_one_stopped() -> None:
    world = World()
    world.stream.put("s0", *range(15))
    await world.started()
    await world.at(14)
    await close(world)
    world.stream.put("s0", *range(15, 20))
    await world.started()
    await world.at(19)
    assert world.seen == list(range(20))
    assert world.stream.opened[-1] == ("s0", After(14, "0/14"))
    await close(world)


@in_virtual_time
async def test_a_batch_whose_end_was_not_stored_is_done_again_and_nothing_is_left_out() -> None:
    world = World()
    world.stream.put("s0", *range(30))
    hang = asyncio.Event()
    world.invoker.function = lambda datas, event: hang.wait() if 10 in datas and not hang.is_set() else None
    poller = await world.started()
    await world.until(lambda: len(world.invoker.calls) == 2)
    await world.crash(poller)
    hang.set()
    await world.started()
    await world.at(29)
    assert world.seen == [*range(10), *range(10, 20), *range(10, 20), *range(20, 30)]
    world.pollers.remove(poller)
    await close(world)


@in_virtual_time
async def test_a_batch_waits_for_its_window_and_not_longer_than_until_it_is_full() -> None:
    world = World()
    await world.started(batching_window=timedelta(seconds=20), batch_size=5)
    began = now()
    world.stream.put("s0", 0, 1)
    await asyncio.sleep(3)
    world.stream.put("s0", 2)
    await world.at(2)
    assert world.invoker.calls == [[0, 1, 2]]
    assert 19 <= now() - began <= 21
    began = now()
    world.stream.put("s0", *range(3, 10))
    await world.at(7)
    assert now() - began < 1
    await world.at(9)
    assert world.invoker.calls[1:] == [[3, 4, 5, 6, 7], [8, 9]]
    await close(world)


@in_virtual_time
async def test_what_no_filter_wants_is_passed_over_without_an_invocation_and_its_position_stored() -> None:
    world = World()
    world.stream.put("s0", *({"n": n} for n in range(50)))
    poller = await world.started(filters=('{"data": {"n": [{"numeric": [">=", 40]}]}}',))
    await world.at(49)
    assert [data["n"] for data in world.seen] == list(range(40, 50))
    world.stream.put("s0", *({"n": n} for n in range(5)))
    await world.at(54, seconds=10)
    assert poller.health().counters["filtered"] == 45
    assert len(world.invoker.calls) == 1
    await close(world)


@in_virtual_time
async def test_filters_see_metadata_at_the_top() -> None:
    world = World()
    world.stream.put("s0", {"n": 1}, key="a")
    world.stream.put("s0", {"n": 2}, key="b")
    await world.started(filters=('{"partitionKey": ["b"]}',))
    await world.at(1)
    assert world.seen == [{"n": 2}]
    await close(world)


@in_virtual_time
async def test_a_failing_batch_blocks_its_shard_only_and_says_so_until_it_passes() -> None:
    world = World("s0", "s1")
    world.stream.put("s0", *range(20))
    world.stream.put("s1", *range(100, 120))
    world.invoker.function = fails_on(3)
    poller = await world.started()
    await world.at(19, "s1")
    await asyncio.sleep(30)
    assert {data for data in world.seen if data < 100} == set(range(10))
    health = poller.health()
    assert health.condition is Condition.LAGGING
    assert "MaximumRetryAttempts" in health.reasons[0]
    assert "cannot digest" in health.reasons[0]
    assert world.place()["result"] == "PROBLEM: Function call failed"
    assert "cannot digest" in world.place()["error"]
    world.invoker.function = fails_on()
    await world.at(19)
    assert world.place()["result"] == "OK"
    assert world.place()["error"] == ""
    await world.until(lambda: poller.health().condition is Condition.WATCHING, 5)
    waits = [b - a for a, b in zip(world.invoker.begun, world.invoker.begun[1:], strict=False)]
    assert max(waits) <= 61
    await close(world)


@in_virtual_time
async def test_the_guilty_record_is_told_of_with_a_report_and_its_neighbours_pass() -> None:
    world = World()
    for n in range(10):
        world.stream.put("s0", {"t": "warm" if n == 6 else n}, key=f"k{n}")

    def function(datas: list[Any], event: dict[str, Any]) -> None:
        for data in datas:
            data["t"] + 1

    world.invoker.function = function
    poller = await world.started(bisect=True, maximum_retry_attempts=1, on_failure="arn:aws:sqs:us-east-1:0:q")
    await world.at(9)
    (told,) = world.letters.given
    assert (told.shard, told.condition, told.first, told.last, told.size) == (
        "s0",
        "RetryAttemptsExhausted",
        "6",
        "6",
        1,
    )
    assert told.info_key == "KinesisBatchInfo"
    assert told.info["startSequenceNumber"] == told.info["endSequenceNumber"] == "6"
    assert told.info["batchSize"] == 1
    assert json.loads(told.payload)["Records"][0]["kinesis"]["sequenceNumber"] == "6"
    (record,) = told.report["records"]
    assert record["position"] == "6"
    assert record["key"] == "k6"
    assert record["error_type"] == "TypeError"
    assert record["first_difference"] == "$.t is a string where 9 of 9 neighbours have a number"
    assert record["attempts"] == told.attempts == sum({"t": "warm"} in datas for datas in world.invoker.calls)
    assert len(record["request_ids"]) == told.attempts
    assert told.report["neighbours"] == 9
    assert poller.health().counters["skipped"] == 1
    await close(world)


@in_virtual_time
async def test_a_guilty_record_is_no_neighbour() -> None:
    world = World()
    world.stream.put("s0", *range(10))
    world.invoker.function = fails_on(2, 7)
    await world.started(bisect=True, maximum_retry_attempts=0)
    await world.at(9)
    assert [told.report["neighbours"] for told in world.letters.given] == [9, 8]
    await close(world)


@in_virtual_time
async def test_what_is_given_up_is_not_passed_over_before_it_is_told() -> None:
    world = World()
    world.stream.put("s0", 0, 1)
    world.invoker.function = fails_on(0)
    world.letters.away = 5
    await world.started(batch_size=1, maximum_retry_attempts=0)
    await world.until(lambda: world.letters.away == 1)
    assert "position" not in world.place()
    assert world.seen == [0]
    await world.at(1)
    assert [told.first for told in world.letters.given] == ["0"]
    assert world.seen == [0, 1]
    await close(world)


@in_virtual_time
async def test_partial_responses_store_the_progress_that_was_made() -> None:
    world = World()
    world.stream.put("s0", *range(5))
    answers = iter([{"batchItemFailures": [{"itemIdentifier": "3"}, {"itemIdentifier": "2"}]}])
    hang = asyncio.Event()
    world.invoker.function = lambda datas, event: next(answers, None) or hang.wait()
    await world.started(report_failures=True)
    await world.until(lambda: len(world.invoker.calls) == 2)
    assert world.invoker.calls == [[0, 1, 2, 3, 4], [2, 3, 4]]
    assert world.place()["position"] == "1"
    hang.set()
    world.invoker.function = lambda datas, event: None
    await world.at(4)
    await close(world)


@in_virtual_time
async def test_malformed_records_go_to_the_letters_in_their_place() -> None:
    world = World()
    world.stream.put("s0", 0)
    world.stream.put("s0", 1, fault="its data is not JSON")
    world.stream.put("s0", 2)
    await world.started()
    await world.at(2)
    assert world.invoker.calls == [[0], [2]]
    (told,) = world.letters.given
    assert told.condition == "RecordMalformed"
    assert told.result is None
    assert told.report["reason"] == "its data is not JSON"
    await close(world)


@in_virtual_time
async def test_throttling_is_waited_out_and_counted_and_charges_nobody() -> None:
    world = World()
    world.stream.put("s0", 0)
    refusals = iter(range(8))
    world.invoker.function = lambda d, e: (
        Deferred("no capacity", throttled=True) if next(refusals, None) is not None else None
    )
    poller = await world.started(maximum_retry_attempts=0)
    await world.until(lambda: len(world.invoker.calls) == 4)
    assert poller.health().condition is Condition.LAGGING
    assert "no capacity" in poller.health().reasons[0]
    await world.at(0)
    assert poller.health().counters["throttled"] == 8
    assert world.letters.given == []
    await close(world)


@in_virtual_time
async def test_a_lost_claim_ends_the_shard_at_once_and_nothing_is_stored_or_begun() -> None:
    world = World()
    world.stream.put("s0", *range(30))
    hang = asyncio.Event()
    world.invoker.function = lambda datas, event: hang.wait() if 10 in datas else None
    await world.started()
    await world.until(lambda: len(world.invoker.calls) == 2)
    before = dict(world.place())
    claim = world.store.owners["esm:u:s0"]
    claim.held = False
    other = object()
    world.store.owners["esm:u:s0"] = other  # type: ignore[assignment]
    await world.until(lambda: world.invoker.running == 0, 1)
    hang.set()
    await asyncio.sleep(60)
    assert world.place() == before
    assert len(world.invoker.calls) == 2
    assert world.pollers[0].health().condition is Condition.WAITING
    del world.store.owners["esm:u:s0"]
    await world.at(29)
    await close(world)


@in_virtual_time
async def test_a_process_that_was_suspended_stores_nothing_and_invokes_nothing_more() -> None:
    world = World()
    world.stream.put("s0", *range(30))

    async def suspended() -> None:
        """While it ran, the whole process stood still: when it goes on, the claim is another's."""
        world.store.owners["esm:u:s0"].held = False
        world.store.owners["esm:u:s0"] = object()  # type: ignore[assignment]

    world.invoker.function = lambda datas, event: suspended() if 10 in datas else None
    await world.started()
    await world.until(lambda: len(world.invoker.calls) == 2)
    await asyncio.sleep(30)
    assert len(world.invoker.calls) == 2
    assert world.place()["position"] == "9"
    world.store.owners.clear()
    world.invoker.function = lambda datas, event: None
    await world.at(29)
    await close(world)


@in_virtual_time
async def test_a_process_whose_time_has_run_out_begins_nothing_although_nobody_took_its_claim_yet() -> None:
    world = World()
    world.stream.put("s0", *range(30))

    def function(datas: list[Any], event: dict[str, Any]) -> None:
        if 10 in datas and world.seen.count(10) == 1:
            world.store.owners["esm:u:s0"].held = False

    world.invoker.function = function
    await world.started()
    await world.until(lambda: len(world.invoker.calls) == 2)
    await asyncio.sleep(0.1)
    assert len(world.invoker.calls) == 2
    assert world.place()["position"] == "19"  # what was done is stored, since it is still this process's
    await world.at(29)
    assert world.seen == list(range(30))
    await close(world)


@in_virtual_time
async def test_pausing_ends_a_batch_between_two_of_its_pieces() -> None:
    world = World()
    world.stream.put("s0", *range(8))
    hang = asyncio.Event()

    async def failing() -> None:
        await hang.wait()
        raise ValueError("no")

    world.invoker.function = lambda datas, event: failing()
    poller = await world.started(bisect=True)
    await world.until(lambda: len(world.invoker.calls) == 1)
    await poller.reconfigure(world.mapping(bisect=True, enabled=False))
    hang.set()
    await world.until(lambda: not world.store.owners, 5)
    assert len(world.invoker.calls) == 1
    await close(world)


@in_virtual_time
async def test_a_store_that_is_away_for_a_moment_repeats_nothing() -> None:
    world = World()
    world.stream.put("s0", *range(30))
    world.invoker.function = lambda datas, event: setattr(world.store, "away", 10 in datas)
    poller = await world.started()
    await world.until(lambda: world.store.away)
    await asyncio.sleep(2)
    assert poller.health().condition is Condition.OUTAGE
    assert len(world.invoker.calls) == 2
    world.store.away = False
    await world.at(29)
    assert world.seen == list(range(30))
    await close(world)


@in_virtual_time
async def test_pausing_ends_what_runs_stores_it_and_gives_the_shard_back() -> None:
    world = World()
    world.stream.put("s0", *range(30))
    hang = asyncio.Event()
    world.invoker.function = lambda datas, event: hang.wait() if 10 in datas else None
    poller = await world.started()
    await world.until(lambda: len(world.invoker.calls) == 2)
    await poller.reconfigure(world.mapping(enabled=False))
    await asyncio.sleep(100)
    assert world.invoker.running == 1
    hang.set()
    await world.until(lambda: not world.store.owners, 5)
    assert world.place()["position"] == "19"
    assert poller.health().condition is Condition.IDLE
    await asyncio.sleep(60)
    assert len(world.invoker.calls) == 2
    await poller.reconfigure(world.mapping())
    await world.at(29)
    assert world.seen == list(range(30))
    await close(world)


@in_virtual_time
async def test_closing_does_not_wait_for_ever_and_what_was_cut_off_is_done_again() -> None:
    world = World()
    world.stream.put("s0", *range(20))
    hang = asyncio.Event()
    world.invoker.function = lambda datas, event: hang.wait() if 10 in datas and not hang.is_set() else None
    poller = await world.started()
    await world.until(lambda: len(world.invoker.calls) == 2)
    began = now()
    await poller.close()
    await poller.close()
    assert now() - began < 15
    assert world.stream.closed == 1
    assert world.store.owners == {}
    assert world.place()["position"] == "9"
    hang.set()
    await world.started()
    await world.at(19)
    assert world.seen == [*range(20), *range(10, 20)]
    await close(world)


@in_virtual_time
async def test_a_remedy_works_at_once_and_keeps_the_count() -> None:
    world = World()
    world.stream.put("s0", *range(12))
    world.invoker.function = fails_on(0)
    poller = await world.started()
    await world.until(lambda: len(world.invoker.calls) == 5)
    began = now()
    await poller.reconfigure(world.mapping(maximum_retry_attempts=3))
    await world.at(11)
    assert now() - began < 2
    assert world.letters.given[0].attempts in (5, 6)
    await close(world)


@in_virtual_time
async def test_changed_filters_and_lanes_take_effect_without_losing_the_place() -> None:
    world = World()
    world.invoker.function = lambda datas, event: asyncio.sleep(1)
    poller = await world.started()
    for n in range(40):
        world.stream.put("s0", {"n": n}, key=f"k{n % 5}")
    await world.until(lambda: len(world.invoker.calls) == 2)
    await poller.reconfigure(world.mapping(parallelization_factor=3))
    await world.at(39)
    await poller.reconfigure(world.mapping(parallelization_factor=3, filters=('{"data": {"n": [50]}}',)))
    await world.until(lambda: world.stream.readers == 1 and len(world.stream.opened) == 3)
    for n in range(40, 60):
        world.stream.put("s0", {"n": n}, key=f"k{n % 5}")
    await world.at(59)
    assert sorted(data["n"] for data in world.seen) == [*range(40), 50]
    await close(world)


@in_virtual_time
async def test_a_poller_does_not_become_another_ones() -> None:
    world = World()
    poller = await world.started()
    with pytest.raises(Misconfigured):
        await poller.reconfigure(world.mapping(uuid="v"))
    with pytest.raises(Misconfigured):
        await poller.reconfigure(world.mapping(source_arn="arn:aws:kinesis:us-east-1:000000000000:stream/other"))
    await close(world)


@pytest.mark.parametrize(
    ("to", "again"),
    [
        ({"position": "7"}, range(7, 20)),
        ({"position": 0}, range(20)),
        ({"at": "TRIM_HORIZON"}, range(20)),
        ({"at": "LATEST"}, ()),
        ({"timestamp": "x"}, None),
        ({"at": "AT_TIMESTAMP", "timestamp": "late"}, range(15, 20)),
    ],
)
@in_virtual_time
async def test_a_rewind_is_followed_once(to: dict[str, Any], again: Any) -> None:
    world = World()
    world.stream.put("s0", *range(15))
    await asyncio.sleep(5)
    late = clock().isoformat()
    world.stream.put("s0", *range(15, 20))
    poller = await world.started()
    await world.at(19)
    to = {**to, "timestamp": late} if to.get("timestamp") == "late" else to
    world.store.documents["esm-rewind:u"] = json.dumps({"id": "r1", "to": to})
    await asyncio.sleep(3)
    world.stream.put("s0", 20)
    await world.at(20)
    assert world.seen == [*range(20), *(again or ()), 20]
    await poller.close()
    if again is None:
        assert world.place()["rewound"] == ""  # it cannot be understood, and is not followed
    else:
        assert world.place()["rewound"] == "r1"
    await world.started()
    world.stream.put("s0", 21)
    await world.at(21)
    assert world.seen[-1:] == [21]
    assert len(world.seen) == 22 + len(again or ())
    await close(world)


@in_virtual_time
async def test_a_rewind_frees_a_shard_that_is_blocked() -> None:
    world = World()
    world.stream.put("s0", *range(20))
    world.invoker.function = fails_on(3)
    await world.started(batch_size=5)
    await world.until(lambda: len(world.invoker.calls) == 3)
    world.store.documents["esm-rewind:u"] = json.dumps({"id": "r1", "to": {"position": "5"}})
    await world.at(19, seconds=30)
    await close(world)


@in_virtual_time
async def test_records_that_are_gone_are_told_of_counted_and_written_down() -> None:
    world = World()
    world.stream.put("s0", *range(30))
    await world.started()
    await world.at(29)
    await close(world)
    world.stream.put("s0", *range(30, 60))
    world.stream.trim("s0", 45)
    world.letters.away = 2
    poller = await world.started()
    await world.at(59)
    assert world.seen == [*range(30), *range(45, 60)]
    (told,) = world.letters.given
    assert (told.condition, told.first, told.last, told.size, told.payload) == ("RecordsLost", "30", "44", 15, b"")
    health = poller.health()
    assert health.counters["gaps"] == 1
    assert health.condition is Condition.DEGRADED
    assert "30 to 44" in health.reasons[0]
    (gap,) = world.place()["gaps"]
    assert (gap["from"], gap["to"], gap["remade"]) == ("30", "44", False)
    await asyncio.sleep(3700)
    assert poller.health().condition is Condition.WATCHING
    await close(world)


@in_virtual_time
async def test_a_stream_that_was_made_anew_is_read_from_its_start_after_the_old_records() -> None:
    world = World()
    world.stream.put("s0", *range(10))
    hang = asyncio.Event()
    world.invoker.function = lambda datas, event: hang.wait()
    poller = await world.started()
    await world.until(lambda: len(world.invoker.calls) == 1)
    await asyncio.sleep(5)
    world.stream.remake("s0")
    await asyncio.sleep(5)
    world.stream.put("s0", *range(100, 112))
    await asyncio.sleep(5)
    assert "position" not in world.place()
    assert world.letters.given == []
    hang.set()
    await world.until(lambda: world.seen[-1:] == [111])
    await world.at(11)
    assert world.seen == [*range(10), *range(100, 112)]
    assert [told.condition for told in world.letters.given] == ["RecordsLost"]
    assert world.place()["gaps"][0]["remade"] is True
    await poller.close()
    await world.started()
    await asyncio.sleep(5)
    assert world.seen[-1] == 111
    assert len(world.seen) == 22
    await close(world)


@pytest.mark.parametrize("fault", [SourceUnavailable("the broker is away"), SourceMissing("no such stream: create it")])
@in_virtual_time
async def test_a_source_that_is_away_is_said_and_read_on_when_it_is_back(fault: Any) -> None:
    world = World()
    world.stream.fault = fault
    poller = await world.started()
    assert poller.health().condition is Condition.OUTAGE
    assert str(fault) in poller.health().reasons[0]
    await asyncio.sleep(60)
    world.stream.fault = None
    world.stream.put("s0", *range(10))
    await world.at(9, seconds=30)
    assert poller.health().condition is Condition.WATCHING
    world.stream.fault = fault
    await world.until(lambda: poller.health().condition is Condition.OUTAGE, 30)
    world.stream.fault = None
    world.stream.put("s0", *range(10, 20))
    await world.at(19, seconds=30)
    assert world.seen == list(range(20))
    await close(world)


@in_virtual_time
async def test_whoever_waits_for_a_shard_says_nothing_any_more_of_what_was_wrong_when_it_had_it() -> None:
    world = World()
    first = await world.started()
    world.stream.fault = SourceUnavailable("the broker is away")
    await world.until(lambda: first.health().condition is Condition.OUTAGE, 30)
    world.store.owners["esm:u:s0"].wanted_elsewhere = True
    await world.until(lambda: not world.store.owners, 30)
    world.store.owners["esm:u:s0"] = FakeClaim(world.store, "esm:u:s0")  # the other process has it
    world.stream.fault = None
    await asyncio.sleep(60)
    assert first.health().condition is Condition.WAITING
    del world.store.owners["esm:u:s0"]
    await close(world)


@in_virtual_time
async def test_shards_that_come_are_found_and_read_from_their_start() -> None:
    world = World("s0")
    await world.started(starting_position=StartingPosition.LATEST)
    world.stream.put("s0", 0)
    await world.at(0)
    await asyncio.sleep(60)
    world.stream.shards_there["s1"] = []
    world.stream.put("s1", 100, 101)
    await world.at(1, "s1", seconds=30)
    assert world.seen == [0, 100, 101]
    await close(world)


@in_virtual_time
async def test_latest_means_from_when_the_mapping_began_however_often_it_restarts() -> None:
    world = World("s0", "s1")
    for shard in ("s0", "s1"):
        world.stream.put(shard, "old")
    await asyncio.sleep(5)
    await world.started(starting_position=StartingPosition.LATEST)
    assert {start for _, start in world.stream.opened} == {Begin(StartingPosition.LATEST)}
    await close(world)
    await asyncio.sleep(5)
    world.stream.put("s0", "new")
    await world.started(starting_position=StartingPosition.LATEST)
    await world.at(1)
    assert world.seen == ["new"]
    await close(world)


@in_virtual_time
async def test_where_a_stream_knows_no_times_what_came_before_is_passed_over() -> None:
    world = World("s0")
    world.stream.knows_times = False
    world.stream.put("s0", "old")
    await asyncio.sleep(5)
    await world.started(starting_position=StartingPosition.LATEST)
    await close(world)
    await asyncio.sleep(5)
    world.stream.put("s0", "new")
    await world.started(starting_position=StartingPosition.LATEST)
    await world.at(1)
    assert world.seen == ["new"]
    await close(world)


@in_virtual_time
async def test_a_shard_that_another_process_should_have_is_given_up_between_batches() -> None:
    world = World()
    world.stream.put("s0", *range(30))
    first = await world.started()
    second = await world.started()
    await world.at(29)
    assert [p.health().condition for p in (first, second)] == [Condition.WATCHING, Condition.WAITING]
    world.store.owners["esm:u:s0"].wanted_elsewhere = True
    await world.until(lambda: second.health().condition is Condition.WATCHING, 10)
    world.stream.put("s0", *range(30, 40))
    await world.at(39)
    assert world.seen == list(range(40))
    await close(world)


@in_virtual_time
async def test_what_grew_old_behind_a_failing_batch_is_tried_even_after_a_restart() -> None:
    world = World()
    world.stream.put("s0", *range(20))
    world.invoker.function = fails_on(0)
    age = {"maximum_record_age": timedelta(seconds=60)}
    poller = await world.started(**age)
    await asyncio.sleep(30)
    await world.crash(poller)
    world.pollers.remove(poller)
    await world.started(**age)
    await world.at(19)
    assert [(told.first, told.last, told.condition) for told in world.letters.given] == [
        ("0", "9", "RecordAgeExceeded")
    ]
    assert world.seen[-10:] == list(range(10, 20))
    await close(world)


@in_virtual_time
async def test_what_is_too_old_when_reading_begins_is_given_up_untried() -> None:
    world = World()
    world.stream.put("s0", 0, 1, arrived=clock() - timedelta(hours=2))
    world.stream.put("s0", 2)
    await world.started(maximum_record_age=timedelta(seconds=60))
    await world.at(2)
    assert world.seen == [2]
    assert [(told.first, told.last, told.attempts) for told in world.letters.given] == [("0", "1", 0)]
    await close(world)


@in_virtual_time
async def test_a_mapping_that_is_being_deleted_is_not_polled() -> None:
    world = World()
    poller = await world.started()
    await poller.reconfigure(replace(world.mapping(), deleting=True))
    await world.until(lambda: not world.store.owners, 5)
    assert poller.health().condition is Condition.IDLE
    await close(world)


@in_virtual_time
async def test_starting_twice_and_closing_before_the_start_are_harmless() -> None:
    world = World()
    poller = world.poller()
    await poller.close()
    await poller.start()
    assert poller.health().condition is Condition.CLOSED
    again = await world.started()
    await again.start()
    assert len(world.store.owners) == 1
    await close(world)


@in_virtual_time
async def test_how_far_it_is_behind_is_said() -> None:
    world = World()
    world.stream.put("s0", *range(20), arrived=clock() - timedelta(minutes=10))
    hang = asyncio.Event()
    world.invoker.function = lambda datas, event: hang.wait()
    poller: StreamPoller = await world.started()
    await asyncio.sleep(2)
    assert poller.health().condition is Condition.LAGGING
    assert "s0 is 0:10:0" in poller.health().reasons[0]
    hang.set()
    await world.at(19)
    await world.until(lambda: poller.health().condition is Condition.WATCHING, 5)
    await close(world)


@in_virtual_time
async def test_what_is_forgotten_with_its_mapping_is_not_begun_anew() -> None:
    world = World()
    world.stream.put("s0", *range(10))
    first = await world.started()
    second = await world.started()
    await world.at(9)
    world.store.documents.clear()
    world.store.owners.clear()
    await asyncio.sleep(5)
    for poller in (first, second):
        await poller.reconfigure(world.mapping(deleting=True))
    await asyncio.sleep(60)
    assert world.seen == list(range(10))
    await close(world)


@in_virtual_time
async def test_a_shard_whose_first_owner_died_before_it_stored_anything_is_begun() -> None:
    world = World()
    world.stream.put("s0", *range(10))
    world.store.owners["esm:u:s0"] = object()  # type: ignore[assignment]
    await world.started()
    await asyncio.sleep(5)
    world.store.owners.clear()
    await world.at(9, seconds=30)
    assert world.seen == list(range(10))
    await close(world)
