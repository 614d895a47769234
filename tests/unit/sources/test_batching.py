from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sources.batching import LIMIT_BYTES, Limits, Waiting, complete, due, weight
from sources.kinesis_record import KinesisRecords
from sources.stream import Record, records_payload

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def waiting(count: int, *, size: int = 10, since: float = 0.0) -> list[Waiting]:
    return [Waiting(Record(n, "", NOW + timedelta(seconds=n), {}, b""), size, since + n) for n in range(count)]


def test_nothing_is_no_batch() -> None:
    assert complete([], Limits(10), 100) == 0


def test_without_a_window_what_is_there_is_a_batch() -> None:
    assert complete(waiting(3), Limits(10), 0) == 3


def test_a_batch_has_no_more_than_its_size() -> None:
    assert complete(waiting(25), Limits(10, 300), 0) == 10


def test_with_a_window_a_batch_waits_since_its_first_record() -> None:
    assert complete(waiting(3), Limits(10, 20), 19.9) == 0
    assert complete(waiting(3), Limits(10, 20), 20) == 3
    assert due(waiting(3, since=5), Limits(10, 20)) == 25


def test_a_batch_closes_before_it_is_too_large_and_a_single_one_goes_alone() -> None:
    limits = Limits(10, 300, bytes=1024 + 25)
    assert complete(waiting(2), limits, 0) == 0
    assert complete(waiting(3), limits, 0) == 2
    assert complete(waiting(2, size=5000), limits, 0) == 1
    assert complete(waiting(1, size=5000), limits, 400) == 1


def test_a_record_of_the_next_tumbling_window_closes_the_batch() -> None:
    assert complete(waiting(5), Limits(10, 300), 0, before=NOW + timedelta(seconds=3)) == 3
    assert complete(waiting(3), Limits(10, 300), 0, before=NOW + timedelta(seconds=3)) == 0


@given(st.lists(st.tuples(st.binary(max_size=3000), st.text("abc", max_size=50)), min_size=1, max_size=20))
def test_the_reckoned_size_is_close_to_what_is_rendered(contents: list[tuple[bytes, str]]) -> None:
    maker = KinesisRecords("arn:aws:kinesis:us-east-1:000000000000:stream/clicks", "000000000000")
    records = [maker.record("shardId-0", n, data, key=key, arrived=NOW) for n, (data, key) in enumerate(contents)]
    rendered = len(records_payload([record.event for record in records], {}))
    reckoned = sum(map(weight, records))
    assert abs(reckoned - rendered) < 100 * len(records) + 100


def test_a_full_batch_of_large_records_fits_an_event() -> None:
    maker = KinesisRecords("arn:aws:kinesis:us-east-1:000000000000:stream/clicks", "000000000000")
    record = maker.record("shardId-0", 1, b"x" * 1_000_000, key="k", arrived=NOW)
    lot = [Waiting(record, weight(record), 0.0)] * 10
    count = complete(lot, Limits(100), 0)
    assert count == 4
    assert len(records_payload([record.event] * count, {})) <= LIMIT_BYTES
