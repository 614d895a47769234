from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from sources.aws_client import Busy
from sources.aws_shard_reader import LARGEST_PAGE, AwsShardReader, page_of
from sources.aws_stream import AwsStream
from sources.errors import NotSupported, PositionLost, SourceUnavailable
from sources.mapping import StartingPosition
from sources.stream import After, Begin, Record, Start
from tests.unit.sources.shard_service import ShardService, arrival

OLDEST = Begin(StartingPosition.TRIM_HORIZON)
SHORT = timedelta(milliseconds=10)
LONG = timedelta(seconds=20)


async def opened(service: ShardService, start: Start = OLDEST) -> AwsShardReader:
    reader = AwsShardReader(service, "s-0", start)
    await reader.open()
    return reader


async def take(reader: AwsShardReader, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += [record.position for record in await reader.read(100, LONG)]
    return found


async def test_an_expired_iterator_is_replaced_and_nothing_is_left_out() -> None:
    service = ShardService()
    service.add("s-0", 5, 6)
    reader = await opened(service)
    assert await take(reader, 2) == [5, 6]
    service.generation += 1
    service.add("s-0", 7)
    assert await take(reader, 1) == [7]


async def test_an_iterator_that_expired_before_the_first_record_forgets_nothing_that_came_since() -> None:
    service = ShardService(knows_times=False)
    old, new = (int((datetime.now(arrival(0).tzinfo) - arrival(0)).total_seconds()) + n for n in (-60, 60))
    service.add("s-0", old)
    reader = await opened(service, Begin(StartingPosition.LATEST))
    service.generation += 1
    service.add("s-0", new)
    assert await take(reader, 1) == [new]


async def test_a_start_at_a_time_is_refused_where_the_service_knows_none() -> None:
    service = ShardService(knows_times=False)
    service.add("s-0")
    with pytest.raises(NotSupported):
        await opened(service, Begin(StartingPosition.AT_TIMESTAMP, arrival(0)))


async def test_a_service_that_is_asked_too_often_is_asked_again_later() -> None:
    service = ShardService()
    service.add("s-0", 1)
    reader = await opened(service)
    service.failures = [Busy(), Busy()]
    assert await take(reader, 1) == [1]
    assert service.calls["records"] == 3


async def test_calls_are_at_most_five_a_second() -> None:
    service = ShardService()
    service.add("s-0", *range(1000))
    reader = await opened(service)
    loop = asyncio.get_running_loop()
    began = loop.time()
    service.calls.clear()
    while service.calls["records"] < 4:
        await reader.read(1, SHORT)
        service.add("s-0", 1000 + service.calls["records"])
        await reader.read(10_000, SHORT)
    assert loop.time() - began >= 0.55


async def test_a_position_that_was_trimmed_is_told_once_with_what_is_there() -> None:
    service = ShardService()
    service.add("s-0", 1, 2, 8, 9)
    service.trim("s-0", 8)
    reader = await opened(service, After(1, "id-1"))
    with pytest.raises(PositionLost) as lost:
        await reader.read(10, LONG)
    assert (lost.value.expected, lost.value.found, lost.value.remade) == (2, 8, False)
    assert await take(reader, 2) == [8, 9]


async def test_a_trimmed_position_after_which_nothing_came_is_no_loss() -> None:
    service = ShardService()
    service.add("s-0", 1)
    service.trim("s-0", 8)
    reader = await opened(service, After(1, "id-1"))
    assert not await reader.read(10, timedelta(seconds=0.3))


async def test_a_position_that_nobody_knows_means_another_stream() -> None:
    service = ShardService()
    service.add("s-0", 1)
    reader = await opened(service, After(77, "id-77"))
    with pytest.raises(PositionLost) as lost:
        await reader.read(10, LONG)
    assert lost.value.remade
    assert await take(reader, 1) == [1]


async def test_a_user_may_name_the_record_to_go_on_with() -> None:
    service = ShardService()
    service.add("s-0", 10, 20, 30)
    assert await take(await opened(service, After(19)), 2) == [20, 30]


async def test_a_failed_call_is_raised_and_the_next_read_goes_on() -> None:
    service = ShardService()
    service.add("s-0", 1, 2)
    reader = await opened(service)
    service.failures = [SourceUnavailable()]
    with pytest.raises(SourceUnavailable):
        await reader.read(10, LONG)
    assert await take(reader, 2) == [1, 2]


async def test_what_a_cancelled_read_had_asked_for_is_kept() -> None:
    service = ShardService()
    service.add("s-0", 1, 2)
    reader = await opened(service)
    gate, asked = asyncio.Event(), asyncio.Event()
    records = service.records

    async def slow(iterator: str, limit: int) -> Any:
        page = await records(iterator, limit)
        asked.set()
        await gate.wait()
        return page

    service.records = slow  # type: ignore[method-assign]
    reading = asyncio.create_task(reader.read(10, LONG))
    await asked.wait()
    reading.cancel()
    await asyncio.wait((reading,))
    gate.set()
    assert await take(reader, 2) == [1, 2]
    assert service.calls["records"] == 1


async def test_a_shard_that_has_ended_is_not_asked_again() -> None:
    service = ShardService()
    service.add("s-0", 1)
    service.end("s-0")
    reader = await opened(service)
    assert await take(reader, 1) == [1]
    service.calls.clear()
    assert not await reader.read(10, SHORT)
    assert not service.calls


def test_pages_are_as_large_as_memory_allows() -> None:
    small, large = (Record(1, "", arrival(1), {}, b"x" * size) for size in (10, 10 << 20))
    assert page_of([small]) == LARGEST_PAGE
    assert page_of([small, large]) == 1


class Places:
    def __init__(self) -> None:
        self.known: dict[str, Start] = {}

    async def __call__(self, shard: str) -> Start | None:
        return self.known.get(shard)


async def stream_of(service: ShardService) -> tuple[AwsStream, Places]:
    client: Any = type("Client", (), {"close": lambda self: None})()
    places = Places()
    return AwsStream(client, service, places), places


async def test_children_wait_until_their_parent_is_settled_to_its_end() -> None:
    service = ShardService()
    service.add("p", 1, 2)
    service.add("l", parents=("p",))
    service.add("r", parents=("p",))
    service.end("p")
    stream, places = await stream_of(service)
    assert await stream.shards() == ["p"]
    places.known["p"] = After(1, "id-1")
    assert await stream.shards() == ["p"]
    places.known["p"] = After(2, "id-2")
    assert await stream.shards() == ["l", "r"]


async def test_a_merged_shard_waits_for_both_of_its_parents() -> None:
    service = ShardService()
    service.add("a", 1)
    service.add("b", 2)
    service.add("m", parents=("a", "b"))
    service.end("a")
    service.end("b")
    stream, places = await stream_of(service)
    places.known["a"] = After(1, "id-1")
    assert await stream.shards() == ["b"]
    places.known["b"] = After(2, "id-2")
    assert await stream.shards() == ["m"]


async def test_an_empty_parent_is_passed_over_once_somebody_began_with_it() -> None:
    service = ShardService()
    service.add("p")
    service.add("c", parents=("p",))
    service.end("p")
    stream, places = await stream_of(service)
    assert await stream.shards() == ["p"]
    places.known["p"] = OLDEST
    assert await stream.shards() == ["c"]


async def test_a_generation_is_passed_at_once_when_it_is_settled() -> None:
    service = ShardService()
    service.add("a", 1)
    service.add("b", 2, parents=("a",))
    service.add("c", parents=("b",))
    service.end("a")
    service.end("b")
    stream, places = await stream_of(service)
    places.known |= {"a": After(1, "id-1"), "b": After(2, "id-2")}
    assert await stream.shards() == ["c"]


async def test_a_busy_service_does_not_finish_a_shard() -> None:
    service = ShardService()
    service.add("p", 1)
    service.add("c", parents=("p",))
    service.end("p")
    stream, places = await stream_of(service)
    places.known["p"] = After(1, "id-1")
    listed = service.iterator

    async def busy(*_: Any, **__: Any) -> str:
        raise Busy

    service.iterator = busy  # type: ignore[method-assign]
    assert await stream.shards() == ["p"]
    service.iterator = listed  # type: ignore[method-assign]
    assert await stream.shards() == ["c"]
