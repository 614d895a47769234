"""What a reader makes of the offsets that a broker delivers, with a broker that tells exactly what a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.broker import Broker, State, Status
from broker.message import Message
from sources.broker_stream_reader import BrokerStreamReader
from sources.errors import PositionLost, SourceUnavailable
from sources.mapping import StartingPosition
from sources.stream import After, Begin, Record, Start
from tests.unit.sources.virtual_time import in_virtual_time

NOW = datetime(2026, 1, 1, 12, 0, 5, 500_000, tzinfo=UTC)


@dataclass
class FakeDelivery:
    offset: int
    message: Message
    queue: str = "s"
    exchange: str = ""
    routing_key: str = "s"

    async def ack(self) -> None: ...


class FakeBroker:
    """Delivers the records at ``offsets``; a subscription at the first one gets those at ``kept``, None: nothing."""

    def __init__(self, offsets: Sequence[int], kept: Sequence[int] | None = None) -> None:
        self.offsets = offsets
        self.kept = offsets if kept is None else kept
        self.status = Status(State.CONNECTED)
        self.stamp: datetime | None = None
        self._hear: Callable[[Any], None] = lambda delivery: None

    def hear(self, offset: int) -> None:
        """A record comes."""
        self._hear(FakeDelivery(offset, Message(str(offset).encode())))

    async def subscribe(self, queue: str, hear: Callable[[Any], None], *, prefetch: int, offset: Any) -> Any:
        assert not isinstance(offset, int) or offset < 2**63, "no broker takes that"
        self._hear = hear
        for each in self.kept if offset == "first" else self.offsets:
            if offset != "next" and (not isinstance(offset, int) or each >= offset):
                hear(FakeDelivery(each, Message(str(each).encode(), timestamp=self.stamp)))

        async def cancel() -> None: ...

        return SimpleNamespace(lost="", queue=queue, cancel=cancel)


class Maker:
    def record(self, shard: str, position: int, data: bytes, /, *, arrived: datetime, **more: Any) -> Record:
        return Record(position, more["key"], arrived, {}, data, more["identity"])


def reader(broker: FakeBroker, start: Start) -> BrokerStreamReader:
    return BrokerStreamReader(cast(Broker, broker), "s", "shardId-0", start, Maker(), lambda: NOW)


async def positions(reader: BrokerStreamReader) -> list[int]:
    return [record.position for record in await reader.read(100, timedelta(seconds=1))]


@in_virtual_time
async def test_a_number_that_is_left_out_where_a_segment_begins_is_no_loss_whatever_retention_drops_meanwhile() -> None:
    broker = FakeBroker([1, 2, 4, 5], kept=[4, 5])
    reading = reader(broker, Begin(StartingPosition.TRIM_HORIZON))
    broker.kept = [1, 2, 4, 5]
    await reading.open()
    broker.kept = [4, 5]
    assert await positions(reading) == [1, 2, 4, 5]
    await reading.close()


@in_virtual_time
async def test_a_stream_whose_first_segment_was_dropped_after_it_was_read_has_lost_nothing() -> None:
    reading = reader(FakeBroker([4, 5]), After(2))
    await reading.open()
    assert await positions(reading) == [4, 5]
    await reading.close()


@in_virtual_time
async def test_records_that_are_dropped_before_they_are_read_are_told_of_once() -> None:
    broker = FakeBroker([1, 2, 7, 8])
    reading = reader(broker, Begin(StartingPosition.TRIM_HORIZON))
    await reading.open()
    broker.kept = [7, 8]
    assert await positions(reading) == [1, 2]
    with pytest.raises(PositionLost) as lost:
        await positions(reading)
    assert (lost.value.expected, lost.value.found) == (3, 7)
    assert await positions(reading) == [7, 8]
    await reading.close()


@in_virtual_time
async def test_a_gap_that_cannot_be_looked_into_is_no_loss_yet_and_is_looked_into_again() -> None:
    broker = FakeBroker([1, 2, 7, 8])
    reading = reader(broker, Begin(StartingPosition.TRIM_HORIZON))
    await reading.open()
    broker.kept = []
    assert await positions(reading) == [1, 2]
    with pytest.raises(SourceUnavailable, match="does not say where"):
        await positions(reading)
    broker.kept = [7, 8]
    with pytest.raises(PositionLost):
        await positions(reading)
    assert await positions(reading) == [7, 8]
    await reading.close()


@in_virtual_time
async def test_a_publisher_that_knows_whole_seconds_only_loses_nothing_of_the_second_when_reading_began() -> None:
    broker = FakeBroker([1, 2])
    broker.stamp = NOW.replace(microsecond=0)
    reading = reader(broker, Begin(StartingPosition.AT_TIMESTAMP, NOW))
    await reading.open()
    assert await positions(reading) == [1, 2]
    await reading.close()
    broker.stamp = NOW.replace(microsecond=0) - timedelta(seconds=1)
    reading = reader(broker, Begin(StartingPosition.AT_TIMESTAMP, NOW))
    await reading.open()
    assert await positions(reading) == []
    await reading.close()


@in_virtual_time
async def test_who_began_with_the_latest_record_gets_what_came_since_whatever_publishers_say_of_its_time() -> None:
    broker = FakeBroker([1, 2])
    broker.stamp = NOW - timedelta(days=1)
    reading = reader(broker, Begin(StartingPosition.AT_TIMESTAMP, NOW, exact=False))
    await reading.open()
    assert await positions(reading) == [1, 2]
    await reading.close()


@in_virtual_time
async def test_a_position_beyond_the_end_that_a_user_wished_for_waits_for_the_next_record_and_repeats_none() -> None:
    for wished in (1_000, 10**30):
        broker = FakeBroker([1, 2])
        reading = reader(broker, After(wished))
        await reading.open()
        assert await positions(reading) == []
        broker.hear(3)
        assert await positions(reading) == [3]
        await reading.close()


@in_virtual_time
async def test_a_position_that_was_read_and_is_beyond_the_end_now_means_that_the_stream_was_made_anew() -> None:
    reading = reader(FakeBroker([1, 2]), After(1_000, "seen"))
    await reading.open()
    with pytest.raises(PositionLost) as lost:
        await positions(reading)
    assert lost.value.remade
    assert await positions(reading) == [1, 2]
    await reading.close()
