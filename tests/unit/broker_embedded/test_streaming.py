"""Streams: everybody reads everything, from where they like, until retention takes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.broker import Offset
from broker.embedded import stream
from broker.embedded.values import Record
from broker.errors import BrokerError
from broker.topology import Queue, QueueKind
from tests.unit.broker_embedded.driver import Driver

SECOND = timedelta(seconds=1)


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.declare(Queue("s", QueueKind.STREAM))
    for n in range(5):
        driver.send(b"%d" % n, "s")
        driver.advance(SECOND)
    return driver


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        ("first", [0, 1, 2, 3, 4, 5]),
        ("last", [4, 5]),
        ("next", [5]),
        (None, [5]),
        (2, [2, 3, 4, 5]),
        (99, [5]),
        (datetime.fromtimestamp(1003, UTC), [3, 4, 5]),
        (datetime.fromtimestamp(9999, UTC), [5]),
        (datetime.fromtimestamp(0, UTC), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_reader_begins_where_it_asks(driver: Driver, offset: Offset | None, expected: list[int]) -> None:
    driver.subscribe("s", offset=offset)
    driver.send(b"5", "s")
    assert [h.item.offset for h in driver.held if isinstance(h.item, Record)] == expected


def test_a_reader_holds_no_more_than_its_prefetch(driver: Driver) -> None:
    driver.subscribe("s", prefetch=2, offset="first")
    assert len(driver.held) == 2
    driver.engine.ack(driver.held[0])
    driver.run()
    assert driver.bodies() == [b"0", b"1", b"2"]


def test_a_reader_that_falls_far_behind_misses_nothing(driver: Driver) -> None:
    driver.subscribe("s", prefetch=1, offset="next")
    count = stream.BUFFER * 3
    for n in range(count):
        driver.send(b"n%d" % n, "s")
    seen = []
    while driver.held:
        held = driver.held.pop()
        seen.append(held.item.message.body)
        driver.engine.ack(held)
        driver.run()
    assert seen == [b"n%d" % n for n in range(count)]


def test_size_bounds_a_stream() -> None:
    driver = Driver()
    driver.declare(Queue("s", QueueKind.STREAM, max_size_bytes=1_000))
    for n in range(50):
        driver.send(b"x" * 100, "s", message_id=str(n))
    assert sum(len(row) for _, row in driver.journal.stream_rows.values()) <= 1_000
    driver.subscribe("s", offset="first", prefetch=100)
    assert 1 < len(driver.held) < 10
    assert driver.held[-1].item.message.message_id == "49"


def test_age_bounds_a_stream() -> None:
    driver = Driver()
    driver.declare(Queue("s", QueueKind.STREAM, max_age=10 * SECOND))
    driver.send(b"old", "s")
    driver.advance(8 * SECOND)
    driver.send(b"new", "s")
    driver.advance(5 * SECOND)
    assert driver.engine.depth("s").ready == 1
    driver.advance(60 * SECOND)
    assert driver.engine.depth("s").ready == 0
    driver.send(b"again", "s")
    driver.subscribe("s", offset="first")
    assert [h.item.offset for h in driver.held if isinstance(h.item, Record)] == [2]


def test_a_stream_is_neither_purged_nor_taken_from(driver: Driver) -> None:
    with pytest.raises(BrokerError, match="stream"):
        driver.engine.purge("s", driver.outcomes.append)
    with pytest.raises(BrokerError, match="stream"):
        driver.engine.get(driver.session, "s")
