"""The contract of :mod:`sources.stream`, for every adapter of streams there is, in each of its worlds."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sources.errors import PositionLost, SourceMissing, SourceUnavailable
from sources.mapping import StartingPosition
from sources.registry import adapters
from sources.stream import After, Begin, ShardReader, Stream, StreamAdapter
from tests.conformance.sources.streams.reading import (
    NEWEST,
    OLDEST,
    SHORT,
    failure,
    numbers,
    opened,
    survive,
    take,
)
from tests.conformance.sources.streams.rig import World, worlds

LONG = timedelta(seconds=30)


def needs(able: bool) -> None:
    if not able:
        pytest.skip("this world cannot do that")


@pytest.mark.parametrize("adapter", sorted(adapters(StreamAdapter)))
def test_every_adapter_has_a_world_in_this_suite(adapter: str) -> None:
    assert worlds(adapter)


# Order


async def test_records_come_in_order_and_each_once(world: World, stream: Stream) -> None:
    await world.create()
    await world.put(range(40))
    reader = await opened(stream)
    records = await take(reader, 40, limit=7)
    assert numbers(records) == list(range(40))
    positions = [record.position for record in records]
    assert positions == sorted(set(positions))
    assert not await reader.read(10, SHORT)


async def test_read_gives_no_more_than_asked(world: World, stream: Stream) -> None:
    await world.create()
    await world.put(range(30))
    reader = await opened(stream)
    got: list[int] = []
    while len(got) < 30:
        records = await reader.read(4, LONG)
        assert 1 <= len(records) <= 4
        got += numbers(list(records))
    assert got == list(range(30))


async def test_a_record_says_what_it_is(world: World, stream: Stream) -> None:
    await world.create()
    await world.put([7])
    (record,) = await take(await opened(stream), 1)
    assert abs(datetime.now(UTC) - record.arrived) < timedelta(minutes=1)
    assert record.key
    assert record.fault == ""
    assert stream.failure_key(world.identifier(record)) == record.position
    assert stream.failure_key(None) is None
    assert stream.failure_key("nothing like it") is None
    event = json.loads(stream.payload([record.event], {"isFinalInvokeForWindow": True}))
    assert event["isFinalInvokeForWindow"] is True
    assert len(event["Records"] if "Records" in event else next(iter(event["records"].values()))) == 1


async def test_the_same_record_is_the_same_for_every_reader(world: World, stream: Stream) -> None:
    await world.create()
    await world.put(range(5))
    first, second = await opened(stream), await opened(stream)
    ours, theirs = await asyncio.gather(take(first, 5), take(second, 5))
    assert ours
    assert [(r.position, r.identity, r.event) for r in ours] == [(r.position, r.identity, r.event) for r in theirs]
    assert len({record.identity for record in ours}) in (1, 5)


async def test_shards_are_read_independently(world: World, stream: Stream) -> None:
    needs(world.most_shards >= 3)
    await world.create(shards=3)
    shards = sorted(await stream.shards())[:3]
    assert len(shards) == 3
    for shard in range(3):
        await world.put(range(shard * 100, shard * 100 + 10), shard)
    readers = [await stream.open(shard, OLDEST) for shard in shards]
    found = await asyncio.gather(*(take(reader, 10) for reader in readers))
    assert [numbers(records) for records in found] == [list(range(n, n + 10)) for n in (0, 100, 200)]


# From anywhere


async def test_trim_horizon_begins_with_the_oldest_record(world: World, stream: Stream) -> None:
    await world.create()
    await world.put(range(3))
    assert numbers(await take(await opened(stream, OLDEST), 3)) == [0, 1, 2]


async def test_latest_begins_with_the_first_record_after_opening(world: World, stream: Stream) -> None:
    await world.create()
    await world.put(range(5))
    reader = await opened(stream, NEWEST)
    await world.put(range(5, 8))
    assert numbers(await take(reader, 3)) == [5, 6, 7]


async def test_a_time_begins_with_the_first_record_since_then(world: World, stream: Stream) -> None:
    needs(world.knows_times)
    await world.create()
    await world.put(range(3))
    await asyncio.sleep(1.2)  # Some sources have whole seconds.
    since = datetime.now(UTC)
    await asyncio.sleep(1.2)
    await world.put(range(3, 6))
    reader = await opened(stream, Begin(StartingPosition.AT_TIMESTAMP, since))
    assert numbers(await take(reader, 3)) == [3, 4, 5]


async def test_a_time_in_the_future_passes_over_what_comes_before(world: World, stream: Stream) -> None:
    needs(world.knows_times)
    await world.create()
    await world.put([0])
    reader = await opened(stream, Begin(StartingPosition.AT_TIMESTAMP, datetime.now(UTC) + timedelta(seconds=6)))
    await world.put([1])
    assert not await reader.read(10, SHORT)
    await asyncio.sleep(6.5)
    await world.put([2])
    assert numbers(await take(reader, 1)) == [2]


@pytest.mark.parametrize("known", [True, False], ids=["identity", "no-identity"])
async def test_reading_goes_on_behind_a_position(world: World, stream: Stream, known: bool) -> None:
    await world.create()
    await world.put(range(10))
    records = await take(await opened(stream), 10)
    for index in (0, 4, 8):
        last = records[index]
        reader = await opened(stream, After(last.position, last.identity if known else ""))
        rest = await take(reader, 9 - index)
        assert [record.position for record in rest] == [record.position for record in records[index + 1 :]]
        await reader.close()


async def test_behind_the_last_position_only_new_records_come(world: World, stream: Stream) -> None:
    await world.create()
    await world.put(range(4))
    last = (await take(await opened(stream), 4))[-1]
    reader = await opened(stream, After(last.position, last.identity))
    assert not await reader.read(10, SHORT)
    await world.put([4])
    assert numbers(await take(reader, 1)) == [4]


async def test_a_stream_that_had_nothing_is_read_from_its_first_record(world: World, stream: Stream) -> None:
    await world.create()
    reader = await opened(stream)
    assert not await reader.read(10, SHORT)
    await world.put(range(3))
    assert numbers(await take(reader, 3)) == [0, 1, 2]


# What is gone


async def test_what_retention_dropped_is_told_once(world: World, stream: Stream) -> None:
    needs(world.forgets)
    await world.create(forgetful=True)
    await world.put(range(2))
    first = (await take(await opened(stream), 1))[0]
    await world.forget()
    oldest = (await take(await opened(stream), 1))[0]
    reader = await opened(stream, After(first.position, first.identity))
    lost = await failure(reader, PositionLost)
    assert isinstance(lost, PositionLost)
    assert (lost.expected, lost.found, lost.remade) == (first.position + 1, oldest.position, False)
    assert (await take(reader, 1))[0].position == oldest.position


async def test_nothing_is_lost_when_only_the_last_one_read_is_gone(world: World, stream: Stream) -> None:
    needs(world.forgets)
    await world.create(forgetful=True)
    await world.forget()
    oldest = (await take(await opened(stream), 1))[0]
    reader = await opened(stream, After(oldest.position - 1, "0123456789abcdef"))
    assert (await take(reader, 1))[0].position == oldest.position


@pytest.mark.parametrize("new", [0, 1, 3, 9])
async def test_a_stream_that_was_made_anew_is_read_from_its_start(world: World, stream: Stream, new: int) -> None:
    needs(world.remakes)
    await world.create()
    await world.put(range(5))
    reader = await opened(stream)
    last = (await take(reader, 3))[-1]
    await reader.close()
    await world.delete()
    await world.create()
    await world.put(range(100, 100 + new))
    reader = await opened(stream, After(last.position, last.identity))
    if not new:
        assert not await reader.read(10, SHORT)
        await world.put([100])
    lost = await failure(reader, PositionLost)
    assert isinstance(lost, PositionLost)
    assert (lost.expected, lost.remade) == (last.position + 1, True)
    await world.put([200])
    assert numbers(await take(reader, max(new, 1) + 1)) == [*range(100, 100 + max(new, 1)), 200]


async def test_a_stream_made_anew_under_a_reader_is_noticed(world: World, stream: Stream) -> None:
    needs(world.remakes)
    await world.create()
    await world.put(range(5))
    reader = await opened(stream)
    await take(reader, 5)
    await world.delete()
    await world.create()
    await world.put(range(100, 103))
    lost = await failure(reader, PositionLost)
    assert isinstance(lost, PositionLost)
    assert lost.remade
    assert numbers(await take(reader, 3)) == [100, 101, 102]


# Bounded


async def test_memory_is_bounded_however_far_behind(world: World, stream: Stream) -> None:
    needs(world.kept_bytes > 120_000_000)
    await world.create()
    count, size = 120, min(900_000, world.most_bytes * 9 // 10)
    for start in range(0, count, 20):
        await world.put(range(start, start + 20), size=size)
    gc.collect()
    before = _resident()
    reader = await opened(stream)
    got = numbers(await take(reader, 1))
    await asyncio.sleep(1)
    gc.collect()
    assert _resident() - before < 90_000_000  # of 108 MB, and the allocator keeps what was freed
    while len(got) < count:
        got += numbers(await take(reader, 1, limit=1))
    assert got == list(range(count))


def _resident() -> int:
    """How many bytes of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_the_largest_record_comes_whole(world: World, stream: Stream) -> None:
    await world.create()
    await world.put([1], size=world.most_bytes)
    (record,) = await take(await opened(stream), 1)
    assert record.data is not None
    assert len(record.data) >= world.most_bytes
    assert numbers([record]) == [1]


# Patience


async def test_an_empty_read_returns_when_its_time_is_up(world: World, stream: Stream) -> None:
    await world.create()
    reader = await opened(stream)
    await reader.read(1, timedelta(0))
    loop = asyncio.get_running_loop()
    for wait_s in (0.0, 0.3):
        began = loop.time()
        assert not await reader.read(10, timedelta(seconds=wait_s))
        assert wait_s * 0.9 <= loop.time() - began < wait_s + 3


async def test_a_waiting_read_returns_as_soon_as_there_is_something(world: World, stream: Stream) -> None:
    await world.create()
    reader = await opened(stream)
    reading = asyncio.create_task(reader.read(10, LONG))
    await asyncio.sleep(0.1)
    await world.put([1])
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert numbers(list(await reading)) == [1]
    assert loop.time() - began < 10


# Failure


async def test_a_stream_that_is_not_there_is_missing_until_it_is_made(world: World, stream: Stream) -> None:
    with pytest.raises(SourceMissing):
        await stream.shards()
    await world.create()
    await world.put([1])
    assert numbers(await take(await opened(stream), 1)) == [1]


async def test_a_deleted_stream_is_missing(world: World, stream: Stream) -> None:
    needs(world.vanishes)
    await world.create()
    await world.put(range(3))
    reader = await opened(stream)
    await take(reader, 3)
    await world.delete()
    await failure(reader, SourceMissing)
    with pytest.raises(SourceMissing):
        await stream.shards()


async def test_reading_goes_on_when_a_source_is_back(world: World, stream: Stream) -> None:
    needs(world.goes_away)
    await world.create()
    await world.put(range(10))
    reader = await opened(stream)
    got = numbers(await take(reader, 4))
    await world.lose()
    got += await _until_it_is_away(reader)
    await world.put(range(10, 15))
    await world.restore()
    got += numbers(await survive(reader, 15 - len(got)))
    assert got == list(range(15))


async def _until_it_is_away(reader: ShardReader) -> list[int]:
    """What was on its way; a read that fails does so in time."""
    loop = asyncio.get_running_loop()
    got: list[int] = []
    async with asyncio.timeout(60):
        while True:
            began = loop.time()
            try:
                got += numbers(list(await reader.read(100, timedelta(seconds=1))))
            except SourceUnavailable as error:
                assert str(error)
                assert loop.time() - began < 5
                return got


async def test_what_comes_while_a_source_is_away_is_new_for_the_latest(world: World, stream: Stream) -> None:
    needs(world.goes_away)
    await world.create()
    await world.put(range(3))
    await asyncio.sleep(1.2)  # Some sources have whole seconds.
    reader = await opened(stream, NEWEST)
    await world.lose()
    await failure(reader, SourceUnavailable)
    await world.put(range(3, 6))
    await world.restore()
    assert numbers(await survive(reader, 3)) == [3, 4, 5]


async def test_opening_a_source_that_is_away_says_so(world: World, stream: Stream) -> None:
    needs(world.goes_away)
    await world.create()
    await world.put(range(3))
    shard = (await stream.shards())[0]
    await world.lose()
    with pytest.raises(SourceUnavailable):
        async with asyncio.timeout(25):
            await stream.open(shard, OLDEST)
    await world.restore()
    async with asyncio.timeout(60):
        while True:
            try:
                reader = await stream.open(shard, OLDEST)
                break
            except SourceUnavailable:
                await asyncio.sleep(0.1)
    assert numbers(await survive(reader, 3)) == [0, 1, 2]


# Structure


async def test_closing_ends_a_read_and_is_idempotent(world: World, stream: Stream) -> None:
    await world.create()
    reader = await opened(stream)
    reading = asyncio.create_task(reader.read(10, LONG))
    await asyncio.sleep(0.1)
    await asyncio.gather(reader.close(), reader.close())
    await reader.close()
    async with asyncio.timeout(10):
        try:
            assert not await reading
        except SourceUnavailable:
            pass


async def test_a_cancelled_read_loses_nothing(world: World, stream: Stream) -> None:
    await world.create()
    reader = await opened(stream)
    reading = asyncio.create_task(reader.read(10, LONG))
    await asyncio.sleep(0.3)
    reading.cancel()
    await asyncio.wait((reading,))
    await world.put(range(3))
    assert numbers(await take(reader, 3)) == [0, 1, 2]


async def test_closing_the_stream_twice_is_harmless(world: World, stream: Stream) -> None:
    await world.create()
    await opened(stream)
    await asyncio.gather(stream.close(), stream.close())
    await stream.close()
